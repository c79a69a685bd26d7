"""Label the rest of the data."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from leaven.api.opening import counted
from leaven.console import Progress, Say, quiet
from leaven.data import open_data
from leaven.errors import UserError
from leaven.evaluation.classifier import load_classifier, probabilities
from leaven.evaluation.features import check_input
from leaven.evaluation.predictions import Predictions
from leaven.run import Run
from leaven.training.devices import choose_device


def predict(
    run: str | Path | Run,
    data: Any,
    *,
    out: str | Path | None = None,
    uncertain_first: bool = False,
    columns: Mapping[str, str] | None = None,
    device: str = "auto",
    data_root: str | Path | None = None,
    say: Say = quiet,
    progress: Progress = quiet,
) -> Predictions:
    """The class of every sample of the data, labeled or not, by a run that learned classes (`finetune`); written to `out` (.csv) where given.

    uncertain_first: in the order of how unsure the label is, those that are most worth a look first; else in the data's order.
    Raises UserError where the run has no classifier, or reads other data.
    """
    if out is not None and Path(out).suffix.lower() != ".csv":
        raise UserError("labels are written as .csv", where=out, hint="end --out with .csv")
    classifier, classes = load_classifier(run if isinstance(run, Run) else Run.open(run))
    options = classifier.encoder.modality.open_options(classifier.encoder.input)
    samples = open_data(data, root=data_root, columns=columns, progress=partial(progress, "decoded"), **options)
    check_input(classifier.encoder, samples.spec.roles["x"], where=samples.name)
    found = probabilities(classifier, samples.rows["x"], torch.arange(len(samples)), device=choose_device(device))
    given = torch.cat(list(counted(found, len(samples), partial(progress, "predicted"))))
    files = tuple(file or str(row) for row, file in enumerate(samples.files))
    predictions = Predictions(files, classes, given.numpy())
    predictions = predictions.uncertain_first() if uncertain_first else predictions
    if samples.spec.labeled:
        say(f"{samples.spec.labeled:,} of these {len(samples):,} samples have a label already; theirs is predicted as well")
    if out is not None:
        predictions.write(Path(out))
    return predictions
