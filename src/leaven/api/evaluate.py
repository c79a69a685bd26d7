"""Say what a run is worth."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

from leaven.api import options
from leaven.api.open import beside_of, needs_of, reading_of
from leaven.api.surgery import needed_labels, open_as_learned, placed_target
from leaven.console import Progress, Say, begun, deadline, quiet, seconds
from leaven.data import open_data
from leaven.evaluation.evaluate import evaluate_protocols
from leaven.evaluation.protocol import Trial
from leaven.evaluation.scorecard import Scorecard
from leaven.methods.registry import registry
from leaven.report.story import report_run
from leaven.run import Run, write_json
from leaven.training.devices import choose_device
from leaven.training.trained import load_encoders


@options.documented
def evaluate(
    run: options.RunFolder,
    data: options.Data,
    *,
    labels: options.Labels = None,
    columns: options.Columns = None,
    groups: options.Groups = None,
    protocols: options.Protocols = None,
    settings: options.ProtocolSettings = None,
    role: options.Role = None,
    budget: Annotated[
        options.Budget, "Time for the whole command: 90s, 10m, 2h; floors that do not fit are left out (default: as long as it takes)."
    ] = None,
    labels_only: Annotated[
        options.Budget, "Time for training on the labels alone, as a floor (default: what --budget leaves, without it 2m)."
    ] = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    data_root: options.Root = None,
    beside: options.Beside = (),
    known_floors: options.KnownFloors = None,
    report: options.Report = True,
    labels_per_class: Annotated[Sequence[int] | str | None, options.Option("The same as --set few-label.counts=...")] = None,
    classes: options.ClassNames = None,
    templates: options.Templates = (),
    judge: options.Judge = None,
    count: Annotated[int | None, options.Option("The same as --set samples.count=...")] = None,
    say: Say = quiet,
    progress: Progress = quiet,
) -> Scorecard:
    """Say what a run is worth, by scores of its features, its pairs, its classifier or its samples, beside their floors.

    It writes scorecard.json and report.html into the run's folder. Without `protocols`: sts or pairs for pairs without classes, pairs for a run that
    keeps several encoders, classifier for a run that learned classes, tagger for one that learned tags, tags for samples with tags, else knn, linear
    and few-label. No label that the run has learned from is tested on. Raises UserError where the run or the data does not offer what a protocol
    needs.
    """
    begun_at = begun()
    run = Run.open(run)
    encoders = load_encoders(run, role)
    placed = open_as_learned(run, data, needed_labels(labels), data_root) if placed_target(run) is not None else None
    reading, settings = reading_of(settings, samples=False)
    needs = needs_of(encoders.values())
    opened = partial(open_data, data, root=data_root, labels=labels, columns=columns, groups=groups, progress=partial(progress, "decoded"))
    samples = opened(**{**needs, "reading": {**needs["reading"], **reading}}) if placed is None else placed.data
    models = beside_of(beside, samples, opened, next(iter(encoders.values())).input.modality)
    method = run.config["asked"]["method"]["name"]
    kind = registry().get(method)
    trained = Trial.budget if budget is None and labels_only is None else seconds(labels_only)
    trial = Trial(
        samples, encoders, method, run, role, trained, seed, choose_device(device), known_floors or {},
        kind is not None and kind.family == "latent", models, say, partial(progress, "encoded"),
        deadline(begun_at, seconds(budget)), placed,
    )  # fmt: skip
    if labels_per_class is not None and (protocols is None or "few-label" in protocols):
        settings["few-label.counts"] = labels_per_class
    shortcuts = {"samples.judge": judge, "samples.count": count, "zero-shot.classes": classes, "zero-shot.templates": templates or None}
    settings |= {name: value for name, value in shortcuts.items() if value is not None}
    card = evaluate_protocols(trial, protocols, settings)
    write_json(run.scorecard_path, card.to_dict())
    if report:
        report_run(run, samples, card, encoders=encoders, device=choose_device(device), placed=placed)
    return card
