"""The classifier of a run, and what it predicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from leaven.data import DataSet
from leaven.errors import UserError
from leaven.evaluation.features import batch_of
from leaven.methods.method import Method
from leaven.modalities import Value
from leaven.run import Run
from leaven.training.supervision import learned_labels
from leaven.training.trained import trained_method


def load_classifier(run: Run) -> tuple[Method, tuple[str, ...]]:
    """A run's trained classifier and the names of its classes, or of its tags. UserError where it has none."""
    if not run.finished:
        raise UserError("this training has not finished", where=run.path, hint="give the same command again: it goes on")
    trained = trained_method(run)
    if not trained.classifies:
        hint = "make a classifier with `leaven finetune`"
        raise UserError(f"this run has learned no classes: {trained.name} gives features", where=run.path, hint=hint)
    spec = run.config["asked"]["data"]["spec"]
    return trained, tuple(spec.get("tag_names") or spec["class_names"])


@torch.no_grad()
def probabilities(classifier: Method, value: Value, rows: Tensor, *, device: str = "cpu") -> Iterator[Float[Tensor, "batch names"]]:
    """The probabilities of the classes, or tags, for these rows, a batch at a time, in order, in fp32 on the CPU."""
    classifier = classifier.to(device).eval()
    for part in rows.split(batch_of(value[rows[:1]].shape[0])):
        yield classifier.probabilities(classifier.classify(value[part].to(device)).float()).cpu()


def with_learned_labels(data: DataSet, run: Run, hashes: Tensor) -> DataSet:
    """Samples whose label the run has learned from get that one where they have none here: the labels of the others may stand in a file of their own.

    hashes: (n,) int64, the content of each sample as the run records it.
    """
    labels = learned_labels(run)
    rows = (torch.isin(hashes, torch.tensor(list(labels), dtype=torch.int64)) & (data.rows.label < 0)).nonzero().flatten()
    numbers = {name: number for number, name in enumerate(data.spec.class_names)}
    label = data.rows.label.clone()
    label[rows] = torch.tensor([numbers.get(labels[key], -1) for key in hashes[rows].tolist()], dtype=torch.int64)
    return replace(data, rows=replace(data.rows, label=label))


def in_terms_of(data: DataSet, names: Sequence[str]) -> Tensor:
    """The data's classes as numbers of these classes (-1 = none), or its tags as columns of these tags (see `Tags`), by their names or by what stood
    in their place before a file named them. UserError where the data has a class that is not among them, or no tag that is."""
    own = data.spec.names if set(data.spec.names) <= set(names) or not set(data.codes) & set(names) else data.codes
    place = {name: number for number, name in enumerate(names)}
    unknown = [name for name in own if name not in place]
    if unknown and (not data.spec.tag_names or len(unknown) == len(own)):
        known = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
        what = "tag" if data.spec.tag_names else "class"
        raise UserError(f"the classifier has no {what} {unknown[0]!r}", where=data.name, hint=f"it knows {known}")
    if not data.spec.tag_names:
        return torch.tensor([*(place[name] for name in own), -1])[data.rows.label]
    target, there = data.rows.named.main, [number for number, name in enumerate(own) if name in place]
    present = torch.zeros(len(data), len(names), dtype=target.dtype)
    present[:, [place[own[number]] for number in there]] = target[:, there]
    present[~data.rows.labeled] = -1
    return present
