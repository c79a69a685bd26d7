"""Say what an encoder is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leaven.api.sayings import Say, quiet, seconds
from leaven.api.use import load, picture_options
from leaven.data import open_data
from leaven.encoders import Encoder
from leaven.errors import UserError
from leaven.evaluation.evaluate import evaluate_encoder
from leaven.evaluation.scorecard import Scorecard
from leaven.report.story import report_run
from leaven.run import Run, write_json
from leaven.training.devices import choose_device


def evaluate(
    run: str | Path | Run,
    data: Any,
    *,
    labels: Any = None,
    columns: Mapping[str, str] | None = None,
    protocols: Sequence[str] = ("knn", "linear", "few-label"),
    labels_per_class: Sequence[int] = (1, 2, 5, 10),
    budget: str | float | None = "2m",
    seed: int = 0,
    device: str = "auto",
    data_root: str | Path | None = None,
    say: Say = quiet,
) -> Scorecard:
    """What a run's encoder is worth on labeled data, beside its floors; writes scorecard.json and report.html into the run's folder.

    budget: time for the labels-only floor (the same encoder trained on the few labels alone). Raises UserError without labels.
    """
    opened = run if isinstance(run, Run) else Run.open(run)
    encoder = load(opened)
    if not isinstance(encoder, Encoder):
        raise UserError("the networks of this method have no input specification to evaluate by", where=opened.path, hint="embed with them in Python")
    samples = open_data(data, root=data_root, labels=labels, columns=columns, **picture_options(encoder))
    card = evaluate_encoder(
        encoder, samples, method=opened.config["asked"]["method"]["name"], protocols=protocols, labels_per_class=labels_per_class,
        budget=seconds(budget), seed=seed, device=choose_device(device), say=say,
    )  # fmt: skip
    write_json(opened.path / "scorecard.json", card.to_dict())
    report_run(opened, samples, encoder, card, device=choose_device(device))
    return card
