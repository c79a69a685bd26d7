"""Label the rest of the data."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import torch

from leaven.api import options
from leaven.api.open import counted, open_for
from leaven.api.write import check_suffix
from leaven.console import Progress, Say, quiet
from leaven.errors import UserError
from leaven.evaluation.class_texts import Senses, probabilities_by_name, read_names
from leaven.evaluation.classifier import load_classifier, probabilities
from leaven.evaluation.predictions import Predictions, TagPredictions
from leaven.evaluation.spreading import probabilities_by_spreading
from leaven.run import Run
from leaven.training.devices import choose_device
from leaven.training.trained import load_encoders


@options.documented
def predict(
    run: options.RunFolder,
    data: options.Data,
    *,
    out: Annotated[
        options.RequiredPath, "Where the labels go: a .csv file (file,label,probability; of tags file,tags, and a probability each)."
    ] = None,
    uncertain_first: Annotated[bool, options.Option("List the least certain labels first.", flags=("--uncertain-first",))] = False,
    labels: options.Labels = None,
    spread: Annotated[
        str | None,
        options.Option("Spread the few labels of the data over a graph of nearest neighbours: poisson, laplace or spreading (needs no classifier)."),
    ] = None,
    classes: options.ClassNames = None,
    templates: options.Templates = (),
    role: Annotated[options.Role, "Which input of the data the classifier reads, where the data has several."] = None,
    columns: options.Columns = None,
    device: options.Device = "auto",
    data_root: options.Root = None,
    say: Say = quiet,
    progress: Progress = quiet,
) -> Predictions:
    """Label the rest of the data: every sample's class, or its tags, and how sure they are.

    The run is one that learned classes or tags (`finetune`); samples that have a label already are predicted as well. Predictions are in the data's
    order unless `uncertain_first`. With `classes`, the run is one that compares texts with another input (`clip`, ...): a sample gets the class whose
    name is the nearest, and no label was ever needed. With `spread`, any run will do: the labels that some samples of the data have spread over a
    graph in which each sample is joined with its nearest neighbours, in seconds. Raises UserError where the run has no classifier, or reads other
    data.
    """
    place, run, device = check_suffix(out, ".csv", "labels are"), Run.open(run), choose_device(device)
    if templates and classes is None:
        raise UserError("templates are for the names of classes", where="templates", hint="give these with --classes FILE")
    if labels is not None and spread is None:
        raise UserError("labels of some samples name the others where they spread", where="labels", hint="say how with --spread poisson")
    opened_for = partial(open_for, run, data, role=role, columns=columns, labels=labels, data_root=data_root, say=say, progress=progress)
    if spread is not None:
        opened, classifier = opened_for(), None
        names, blocks = opened.data.spec.class_names, probabilities_by_spreading(opened, spread, device)
    elif classes is not None:
        senses, names = Senses.of(load_encoders(run), run.path), read_names(classes)
        opened, classifier = opened_for(encoder=senses.other), None
        blocks = probabilities_by_name(run, senses, names, templates or ("{}",), opened.samples, device)
    else:
        classifier, names = load_classifier(run)
        opened = opened_for(encoder=classifier.encoder)
        blocks = probabilities(classifier, opened.samples, torch.arange(len(opened.data)), device=device)
    samples = opened.data
    likely = torch.cat(list(counted(blocks, len(samples), progress, "predicted"))).numpy()
    files = tuple(file or str(row) for row, file in enumerate(samples.files))
    if classifier is not None and run.config["asked"]["data"]["spec"].get("tag_names"):
        predictions: Predictions = TagPredictions(files, names, likely, False, float(classifier.get_buffer("threshold")))
    else:
        predictions = Predictions(files, names, likely, getattr(classifier, "calibrated", False))
    predictions = predictions.uncertain_first() if uncertain_first else predictions
    if samples.spec.labeled and spread is None:
        say(f"{samples.spec.labeled:,} of these {len(samples):,} samples have a label already; theirs is predicted as well")
    if not predictions.calibrated:
        say("these probabilities are not calibrated: they can be too sure, and say only which labels to check first")
    if place is not None:
        predictions.write(place)
    return predictions
