"""Say what a run is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from leaven.console import Progress, Say, quiet, seconds
from leaven.data import open_data
from leaven.evaluation.evaluate import evaluate_protocols
from leaven.evaluation.protocol import Protocol, Trial
from leaven.evaluation.scorecard import Scorecard
from leaven.methods.registry import registry
from leaven.report.story import report_run
from leaven.run import Run, write_json
from leaven.training.devices import choose_device
from leaven.training.trained import load_encoders


def evaluate(
    run: str | Path | Run,
    data: Any,
    *,
    labels: Any = None,
    columns: Mapping[str, str] | None = None,
    protocols: Sequence[str | type[Protocol]] | None = None,
    settings: Mapping[str, Any] | None = None,
    role: str | None = None,
    budget: str | float | None = "2m",
    seed: int = 0,
    device: str = "auto",
    data_root: str | Path | None = None,
    known_floors: Mapping[str, Any] | None = None,
    report: bool = True,
    labels_per_class: Sequence[int] | str | None = None,
    judge: str | Path | Run | None = None,
    count: int | None = None,
    say: Say = quiet,
    progress: Progress = quiet,
) -> Scorecard:
    """What a run is worth, beside its floors; writes scorecard.json and report.html into the run's folder.

    protocols: names from `leaven.list_protocols()`, or protocols of your own, as a class or file.py:Class. None: those that suit the run and data,
    which are sts or pairs for pairs without classes, pairs for a run that keeps several encoders, classifier for a run that learned classes, and
    else knn, linear and few-label. settings: options of protocols, as {"few-label.counts": (1, 2, 5)}. role: which of the run's encoders is scored,
    or, where it has one, which role of the data it reads. budget: time for floors that must be trained (the same encoder on the labels alone).
    known_floors: those of another scorecard of the same encoder, data and seed, which are not measured again. report: write report.html, which takes
    some seconds. labels_per_class, judge, count: the same as few-label.counts, samples.judge and samples.count in settings.

    No label that the run has learned from is tested on. Raises UserError where the run or the data does not offer what a protocol needs.
    """
    opened = run if isinstance(run, Run) else Run.open(run)
    encoders = load_encoders(opened, role)
    options = {name: value for encoder in encoders.values() for name, value in encoder.modality.open_options(encoder.input).items()}
    samples = open_data(data, root=data_root, labels=labels, columns=columns, progress=partial(progress, "decoded"), **options)
    method = opened.config["asked"]["method"]["name"]
    kind = registry().get(method)
    trial = Trial(
        samples, encoders, method, opened, role, seconds(budget), seed, choose_device(device), known_floors or {},
        kind is not None and kind.family == "latent", say, partial(progress, "encoded"),
    )  # fmt: skip
    settings = dict(settings or {})
    if labels_per_class is not None and (protocols is None or "few-label" in protocols):
        settings["few-label.counts"] = labels_per_class
    settings |= {name: value for name, value in (("samples.judge", judge), ("samples.count", count)) if value is not None}
    card = evaluate_protocols(trial, protocols, settings)
    write_json(opened.scorecard_path, card.to_dict())
    if report:
        report_run(opened, samples, card, encoders=encoders, device=choose_device(device))
    return card
