"""Scores of a trained classifier beside what the same labels give without it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from leaven.data import DataSet
from leaven.encoders import Encoder
from leaven.encoders.store import load_encoder, weights_digest
from leaven.errors import UserError
from leaven.evaluation.calibration import calibration_error
from leaven.evaluation.features import batch_of, encode
from leaven.evaluation.floors import labels_only
from leaven.evaluation.intervals import bootstrap_interval
from leaven.evaluation.linear import linear_accuracy
from leaven.evaluation.scorecard import Scorecard, Scores
from leaven.methods.method import Method
from leaven.modalities import Value, modality_of
from leaven.run import Run
from leaven.training.supervision import learned_hashes
from leaven.training.trained import trained_method

MOST_CLASSES_SHOWN, PAIRS_SHOWN = 100, 10


def load_classifier(run: Run) -> tuple[Method, tuple[str, ...]]:
    """A run's trained classifier and the names of its classes. UserError where it has none."""
    if not run.finished:
        raise UserError("this training has not finished", where=run.path, hint="give the same command again: it goes on")
    trained = trained_method(run)
    if not trained.classifies:
        raise UserError(
            f"this run has learned no classes: {trained.name} gives features", where=run.path, hint="make a classifier with `leaven finetune`"
        )
    return trained, tuple(run.config["asked"]["data"]["spec"]["class_names"])


@torch.no_grad()
def probabilities(classifier: Method, value: Value, rows: Tensor, *, device: str = "cpu") -> Iterator[Float[Tensor, "batch classes"]]:
    """What a classifier gives each class, for these rows a batch at a time, in order, in fp32 on the CPU."""
    classifier = classifier.to(device).eval()
    for part in rows.split(batch_of(value[rows[:1]].shape[0])):
        yield classifier.classify(value[part].to(device)).float().softmax(dim=1).cpu()


def classifier_score(given: Float[Tensor, "n classes"], labels: Int64[Tensor, "n"], classes: Sequence[str], *, seed: int = 0) -> dict[str, Any]:
    """{accuracy, interval, balanced_accuracy, calibration_error, samples, classes, confusion, confused}.

    balanced_accuracy: the mean over classes of the share that is found. confusion: counts, a row a true class, a column a predicted one (up to 100
    classes). confused: the commonest mistakes, as {label, predicted, count}.
    """
    from sklearn.metrics import confusion_matrix

    predicted = given.argmax(dim=1)
    counts = torch.from_numpy(confusion_matrix(labels, predicted, labels=range(len(classes))))
    mistakes = counts.clone().fill_diagonal_(0).flatten()
    worst = mistakes.argsort(descending=True, stable=True)[:PAIRS_SHOWN].tolist()
    correct = predicted == labels
    there = counts.sum(dim=1) > 0
    score = {
        "accuracy": correct.double().mean().item(),
        "interval": list(bootstrap_interval(correct, seed=seed)),
        "balanced_accuracy": (counts.diagonal()[there].double() / counts.sum(dim=1)[there]).mean().item(),
        "calibration_error": calibration_error(given, labels),
        "samples": len(labels),
        "classes": list(classes),
        "confused": [
            {"label": classes[pair // len(classes)], "predicted": classes[pair % len(classes)], "count": int(mistakes[pair])}
            for pair in worst
            if mistakes[pair]
        ],
    }
    return score | ({"confusion": counts.tolist()} if len(classes) <= MOST_CLASSES_SHOWN else {})


def evaluate_classifier(
    run: Run,
    data: DataSet,
    *,
    budget: float | None = 120.0,
    seed: int = 0,
    device: str = "cpu",
    say: Callable[[str], None] = lambda line: None,
) -> Scorecard:
    """Accuracy, calibration and confusion of a run's classifier on labels that it has not learned from, beside what else the learned labels give.

    Floors: linear probes on the raw input and on the encoder that it started from, and the same encoder trained from fresh weights for as many steps,
    if the budget (seconds) allows. Raises UserError where no label is left to test on, or the data has a class that it does not know.
    """
    classifier, classes = load_classifier(run)
    labels, learned = class_numbers(data, classes), learned_hashes(run)
    _, test, part, note = data.held_out()
    known = torch.isin(data.hashes, learned)
    group = data.rows.group
    rows = torch.arange(len(data)) if note else test
    rows = rows[(labels[rows] >= 0) & ~known[rows] & ~torch.isin(group[rows], group[known & (group >= 0)])]
    if not len(rows):
        hint = "label some more samples, or fine-tune without --all-labels"
        raise UserError("there is no label to test on that this classifier has not learned from", where=data.name, hint=hint)
    notes = []
    if note:
        part = "labels that it has not learned from"
        notes.append(
            "No labeled test split: all labels that it has not learned from are tested on. Pre-training may have seen these inputs, unlabeled."
        )
    say("scoring the classifier")
    value, truth = data.rows["x"], labels[rows]
    given = torch.cat(list(probabilities(classifier, value, rows, device=device)))
    scores: Scores = {"classifier": classifier_score(given, truth, classes, seed=seed)}
    encoder = classifier.encoder
    name = encoder.name or encoder.arguments.get("model", "")
    card = Scorecard(classifier.name, name, f"{data.name} ({part}: {len(rows):,} samples)", scores, notes=notes)
    taught = (known & (labels >= 0)).nonzero().flatten()
    if missing := len(learned.unique()) - len(data.hashes[taught].unique()):
        notes.append(f"No floors: {missing:,} of the samples that it has learned from are not in this data, or have no label there.")
        return card

    def probe(features: Callable[[Tensor], Tensor]) -> Scores:
        return {"classifier": linear_accuracy(features(taught), labels[taught], features(rows), truth, seed=seed)}

    say("scoring the raw input with the same labels")
    features = modality_of(value).raw_features(value, taught)
    card.floors["input"] = probe(lambda some: features(value.take(some)))
    if (before := encoder_before(run)) is not None:
        say("scoring the frozen encoder with the same labels")
        card.floors["frozen"] = probe(lambda some: encode(before, value, some, device=device))
    else:
        notes.append("No frozen floor: the run that it started from is gone, or another.")
    result = run.config["result"]
    if budget is not None and result["seconds"] > budget:
        notes.append(f"No labels-only floor: it would take about {result['seconds']:.0f} seconds, and the budget is {budget:.0f}.")
        return card
    say("training from scratch on the same labels")
    correct = labels_only(encoder, data, taught, rows, seed=seed, steps=result["steps"])
    alone = {"accuracy": correct.double().mean().item(), "interval": list(bootstrap_interval(correct, seed=seed)), "samples": len(rows)}
    card.floors["labels-only"] = {"classifier": alone}
    return card


def encoder_before(run: Run) -> Encoder | None:
    """The encoder that a run started from, if it is still where it was."""
    config = run.config
    folder = Run(config["start"]).folder_of(config.get("start_role")) if config.get("start") else None
    if folder is None or not (folder / "model.safetensors").is_file() or weights_digest(folder) != config["asked"]["start"]["weights"]:
        return None
    return load_encoder(folder)


def class_numbers(data: DataSet, classes: Sequence[str]) -> Int64[Tensor, "n"]:
    """The data's labels as numbers of these classes, -1 = none. UserError where the data has a class that is not among them."""
    place = {name: number for number, name in enumerate(classes)}
    unknown = [name for name in data.spec.class_names if name not in place]
    if unknown:
        known = ", ".join(classes[:10]) + (", …" if len(classes) > 10 else "")
        raise UserError(f"the classifier has no class {unknown[0]!r}", where=data.name, hint=f"it knows {known}")
    numbers = torch.tensor([*(place[name] for name in data.spec.class_names), -1])
    return numbers[data.rows.label]
