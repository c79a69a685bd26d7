"""Label the rest of the data, or write about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

import torch

from leaven.api import options
from leaven.api.open import Opened, counted, open_for
from leaven.api.surgery import find_in_pictures, placed_target
from leaven.api.write import check_suffix
from leaven.console import Progress, Say, quiet
from leaven.errors import UserError
from leaven.evaluation.abilities import direction_of, generated, open_method
from leaven.evaluation.class_texts import Senses, probabilities_by_name, read_names
from leaven.evaluation.classifier import load_classifier, probabilities
from leaven.evaluation.placed_predictions import Masks, Objects
from leaven.evaluation.predictions import Predictions, TagPredictions, Written
from leaven.evaluation.spreading import probabilities_by_spreading
from leaven.modules.writing import Decoding
from leaven.run import Run
from leaven.training.devices import choose_device
from leaven.training.trained import load_encoder_of, load_encoders


@options.documented
def predict(
    run: options.RunFolder,
    data: options.Data,
    *,
    out: Annotated[
        options.RequiredPath,
        "Where the answers go, a .csv file: file,label,probability; of tags file,tags, and a probability each; of texts file,ROLE; of boxes a COCO "
        ".json file, of masks a folder.",
    ] = None,
    uncertain_first: Annotated[bool, options.Option("List the least certain labels first.", flags=("--uncertain-first",))] = False,
    labels: options.Labels = None,
    spread: Annotated[
        str | None,
        options.Option("Spread the few labels of the data over a graph of nearest neighbours: poisson, laplace or spreading (needs no classifier)."),
    ] = None,
    classes: options.ClassNames = None,
    templates: options.Templates = (),
    source: Annotated[str | None, options.Option("The input that is read, where texts are written about it (as image).", flags=("--from",))] = None,
    target: Annotated[
        str | None, options.Option("What is written about each sample instead of a label (as text), by a run that can.", flags=("--to",))
    ] = None,
    beams: Annotated[int, options.Option("Texts that are kept while one is written (1: the likeliest word is taken each time).", least=1)] = 1,
    temperature: Annotated[float, options.Option("Draw words by chance, the more evenly the higher (0: draw none).", least=0)] = 0.0,
    seed: Annotated[options.Seed, "Seed of the words that are drawn."] = 0,
    role: Annotated[options.Role, "Which input of the data is read, where the data has several."] = None,
    columns: options.Columns = None,
    device: options.Device = "auto",
    data_root: options.Root = None,
    say: Say = quiet,
    progress: Progress = quiet,
) -> Predictions | Written | Masks | Objects:
    """Label the rest of the data, or write texts about it.

    The run is one that learned classes or tags (`finetune`); samples that have a label already are predicted as well. Predictions are in the data's
    order unless `uncertain_first`. With `classes`, the run is one that compares texts with another input (`clip`, ...): a sample gets the class whose
    name is the nearest, and no label was ever needed. With `source` or `target`, the run is one that writes texts about another input (`coca`): each
    sample gets a text. With `spread`, any run will do: the labels that some samples of the data have spread over a graph in which each sample is
    joined with its nearest neighbours, in seconds. A run that has learned boxes or masks (`finetune --task`) finds
    them in whole pictures, in their own pixels. Raises UserError where the run has no classifier, cannot write, or reads other data.
    """
    run, device = Run.open(run), choose_device(device)
    if placed_target(run) is not None:
        unfit = {"uncertain_first": uncertain_first, "labels": labels, "spread": spread, "classes": classes, "from": source, "to": target}
        return find_in_pictures(run, data, out, [name for name, value in unfit.items() if value], data_root, device, say, progress)
    place = check_suffix(out, ".csv", "predictions are")
    writes = source is not None or target is not None
    if templates and classes is None:
        raise UserError("templates are for the names of classes", where="templates", hint="give these with --classes FILE")
    if writes and (classes is not None or spread is not None):
        raise UserError("a sample gets a class or a text", hint="leave --classes and --spread out, or --from and --to")
    if not writes and (beams > 1 or temperature):
        raise UserError("beams and temperature are for texts that are written", hint="say what is written with --to, as in --to text")
    if beams > 1 and temperature:
        raise UserError("beams keep the likeliest texts, and temperature draws by chance", hint="give one of them")
    if labels is not None and spread is None:
        raise UserError("labels of some samples name the others where they spread", where="labels", hint="say how with --spread poisson")
    opened_for = partial(open_for, run, data, role=role, columns=columns, labels=labels, data_root=data_root, say=say, progress=progress)
    if writes:
        written = write(run, opened_for, columns, source, target, Decoding(beams, temperature), seed, device, progress)
        if place is not None:
            written.write(place)
        return written
    if spread is not None:
        opened, classifier = opened_for(), None
        names, blocks = opened.data.spec.class_names, probabilities_by_spreading(opened, spread, device)
    elif classes is not None:
        senses, names = Senses.of(load_encoders(run), run.path, role), read_names(classes)
        opened, classifier = opened_for(encoder=senses.other), None
        blocks = probabilities_by_name(run, senses, names, templates or ("{}",), opened.samples, device)
    else:
        classifier, names = load_classifier(run)
        opened = opened_for(encoder=classifier.encoder)
        blocks = probabilities(classifier, opened.samples, torch.arange(len(opened.data)), device=device)
    samples, files = opened.data, files_of(opened)
    likely = torch.cat(list(counted(blocks, len(samples), progress, "predicted"))).numpy()
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


def write(
    run: Run,
    opened_for: Callable[..., Opened],
    columns: Mapping[str, str] | None,
    source: str | None,
    target: str | None,
    decoding: Decoding,
    seed: int,
    device: str,
    progress: Progress,
) -> Written:
    """What the run's method writes about each sample."""
    method = open_method(run, "generate")
    read, made = direction_of(method, source, target, run.path)
    if columns and read in columns:  # a sample that lacks what is written is there as well
        columns = {read: columns[read]}
    opened = opened_for(encoder=load_encoder_of(run, read), columns=columns)
    tokenizer: Any = load_encoder_of(run, made).tokenizer
    blocks = generated(method, opened.samples, read, made, decoding, seed=seed, device=device)
    texts: list[str] = []
    for block in blocks:
        texts += tokenizer.decode(block)
        progress("written", len(texts), len(opened.data))
    return Written(files_of(opened), made, tuple(texts))


def files_of(opened: Opened) -> tuple[str, ...]:
    """Where each sample came from, or its row number."""
    return tuple(file or str(row) for row, file in enumerate(opened.data.files))
