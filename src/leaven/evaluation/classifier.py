"""The classifier of a run, and what it predicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from leaven.data import DataSet
from leaven.errors import UserError
from leaven.evaluation.features import batch_of
from leaven.methods.method import Method
from leaven.modalities import Value
from leaven.run import Run
from leaven.training.trained import trained_method


def load_classifier(run: Run) -> tuple[Method, tuple[str, ...]]:
    """A run's trained classifier and the names of its classes. UserError where it has none."""
    if not run.finished:
        raise UserError("this training has not finished", where=run.path, hint="give the same command again: it goes on")
    trained = trained_method(run)
    if not trained.classifies:
        hint = "make a classifier with `leaven finetune`"
        raise UserError(f"this run has learned no classes: {trained.name} gives features", where=run.path, hint=hint)
    return trained, tuple(run.config["asked"]["data"]["spec"]["class_names"])


@torch.no_grad()
def probabilities(classifier: Method, value: Value, rows: Tensor, *, device: str = "cpu") -> Iterator[Float[Tensor, "batch classes"]]:
    """The probabilities of the classes for these rows, a batch at a time, in order, in fp32 on the CPU."""
    classifier = classifier.to(device).eval()
    for part in rows.split(batch_of(value[rows[:1]].shape[0])):
        yield classifier.classify(value[part].to(device)).float().softmax(dim=1).cpu()


def class_numbers(data: DataSet, classes: Sequence[str]) -> Int64[Tensor, n]:
    """The data's labels as numbers of these classes, -1 = none. UserError where the data has a class that is not among them."""
    place = {name: number for number, name in enumerate(classes)}
    unknown = [name for name in data.spec.class_names if name not in place]
    if unknown:
        known = ", ".join(classes[:10]) + (", …" if len(classes) > 10 else "")
        raise UserError(f"the classifier has no class {unknown[0]!r}", where=data.name, hint=f"it knows {known}")
    numbers = torch.tensor([*(place[name] for name in data.spec.class_names), -1])
    return numbers[data.rows.label]
