"""Label the rest of the data."""

from __future__ import annotations

from typing import Annotated

import torch

from leaven.api import options
from leaven.api.open import counted, open_for
from leaven.api.write import check_suffix
from leaven.console import Progress, Say, quiet
from leaven.evaluation.classifier import load_classifier, probabilities
from leaven.evaluation.predictions import Predictions, TagPredictions
from leaven.run import Run
from leaven.training.devices import choose_device


@options.documented
def predict(
    run: options.RunFolder,
    data: options.Data,
    *,
    out: Annotated[
        options.RequiredPath, "Where the labels go: a .csv file (file,label,probability; of tags file,tags, and a probability each)."
    ] = None,
    uncertain_first: Annotated[bool, options.Option("List the least certain labels first.", flags=("--uncertain-first",))] = False,
    role: Annotated[options.Role, "Which input of the data the classifier reads, where the data has several."] = None,
    columns: options.Columns = None,
    device: options.Device = "auto",
    data_root: options.Root = None,
    say: Say = quiet,
    progress: Progress = quiet,
) -> Predictions:
    """Label the rest of the data: every sample's class, or its tags, and how sure they are.

    The run is one that learned classes or tags (`finetune`); samples that have a label already are predicted as well. Predictions are in the data's
    order unless `uncertain_first`. Raises UserError where the run has no classifier, or reads other data.
    """
    place = check_suffix(out, ".csv", "labels are")
    classifier, classes = load_classifier(Run.open(run))
    opened = open_for(run, data, encoder=classifier.encoder, role=role, columns=columns, data_root=data_root, say=say, progress=progress)
    samples = opened.data
    blocks = probabilities(classifier, opened.samples, torch.arange(len(samples)), device=choose_device(device))
    likely = torch.cat(list(counted(blocks, len(samples), progress, "predicted")))
    files = tuple(file or str(row) for row, file in enumerate(samples.files))
    predictions = Predictions(files, classes, likely.numpy())
    if opened.run.config["asked"]["data"]["spec"].get("tag_names"):
        predictions = TagPredictions(files, classes, likely.numpy(), float(classifier.get_buffer("threshold")))
    predictions = predictions.uncertain_first() if uncertain_first else predictions
    if samples.spec.labeled:
        say(f"{samples.spec.labeled:,} of these {len(samples):,} samples have a label already; theirs is predicted as well")
    if place is not None:
        predictions.write(place)
    return predictions
