"""Labels that are probably wrong: confident learning on predictions for samples whose own label was not seen."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from leaven.data import DataSet
from leaven.errors import UserError
from leaven.evaluation.frozen import Features
from leaven.evaluation.protocols.linear import probe_scores
from leaven.run import write_whole

FOLDS, FEWEST = 5, 5  # labels per class, from which each fold sees every class
SHOWN = 20


@dataclass(frozen=True)
class Suspects:
    """rows: of the samples whose label is probably wrong, the surest first. likely: the class that each probably has; share, own: the probabilities
    of that class and of the label. tested: how many labels were looked at."""

    rows: Int64[Tensor, " n"]
    likely: Int64[Tensor, " n"]
    share: Float[Tensor, " n"]
    own: Float[Tensor, " n"]
    tested: int

    def lines(self, data: DataSet) -> Iterator[dict[str, Any]]:
        names = data.spec.class_names
        for row, likely, share, own in zip(self.rows.tolist(), self.likely.tolist(), self.share.tolist(), self.own.tolist(), strict=True):
            label = names[int(data.rows.label[row])]
            yield {"file": data.files[row] or str(row), "label": label, "likely": names[likely], "probability": share, "probability_of_label": own}

    def to_dict(self, data: DataSet) -> dict[str, Any]:
        """{tested, suspected, worst: the first of `lines`}."""
        worst = [line for line, _ in zip(self.lines(data), range(SHOWN), strict=False)]
        return {"tested": self.tested, "suspected": len(self.rows), "worst": worst}

    def write(self, path: Path, data: DataSet) -> None:
        """A table of all of them: file, label, likely, probability, probability_of_label."""

        def save(partial: Path) -> None:
            with open(partial, "w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
                writer = csv.DictWriter(stream, ["file", "label", "likely", "probability", "probability_of_label"])
                writer.writeheader()
                writer.writerows(
                    {name: f"{cell:.4f}" if isinstance(cell, float) else cell for name, cell in line.items()} for line in self.lines(data)
                )

        write_whole(path, save)


def suspects(features: Float[Tensor, "n dim"], data: DataSet) -> Suspects:
    """Of all labeled samples, by a linear probe on features (one row for each sample of the data), in which a fold never sees its own labels or those
    of their groups. UserError where a class has too few labels."""
    rows = (data.rows.label >= 0).nonzero().flatten()
    labels = data.rows.label[rows]
    counts = labels.bincount(minlength=data.spec.classes)
    if data.spec.tag_names or len(counts) < 2:
        raise UserError("wrong labels are found among classes, two or more", where=data.name, hint="say where they are with --labels")
    if counts.min() < FEWEST:
        fewest = int(counts.argmin())
        what = f"wrong labels are found where classes have {FEWEST} labels each, and {data.spec.class_names[fewest]!r} has {int(counts[fewest])}"
        raise UserError(what, where=data.name, hint="give more labels")
    probabilities = out_of_fold(features[rows], labels, data.groups[rows])
    chosen, likely = confident(probabilities, labels)
    share, own = (probabilities[chosen].gather(1, name[chosen][:, None])[:, 0] for name in (likely, labels))
    order = (own - share).argsort(stable=True)
    return Suspects(rows[chosen][order], likely[chosen][order], share[order], own[order], len(rows))


def out_of_fold(features: Float[Tensor, "n dim"], labels: Int64[Tensor, " n"], groups: Int64[Tensor, " n"]) -> Float[Tensor, "n classes"]:
    """The probabilities of each sample by a probe that has seen four fifths of the others."""
    known = (groups >= 0).all()
    place = groups.unique(return_inverse=True)[1] if known else torch.arange(len(labels))
    shuffled = torch.randperm(int(place.max()) + 1, generator=torch.Generator().manual_seed(0))
    fold = shuffled[place] % FOLDS
    if not known:
        fold[labels.argsort(stable=True)] = torch.arange(len(labels)) % FOLDS  # as many of each class in every fold
    probabilities = torch.zeros(len(labels), int(labels.max()) + 1)
    for number in range(FOLDS):
        out = fold == number
        if out.any():
            seen = Features(features[~out], labels[~out], features[out], labels[out], groups[~out] if known else None)
            scores = probe_scores(seen).softmax(1)
            probabilities[out] = F.pad(scores, (0, probabilities.shape[1] - scores.shape[1]))
    return probabilities


def confident(probabilities: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> tuple[Tensor, Int64[Tensor, " n"]]:
    """Which samples are confidently of another class than their label, and the class (Northcutt et al. 2021, eq. 1 and 2): the likeliest one among
    those whose probability is at least the mean probability of the class over the samples that are labeled so."""
    classes = probabilities.shape[1]
    sums = torch.zeros(classes, dtype=torch.float64).index_add_(0, labels, probabilities.gather(1, labels[:, None])[:, 0].double())
    thresholds = sums / labels.bincount(minlength=classes).clamp_min(1)
    above = probabilities.masked_fill(probabilities < thresholds, -1)
    best, likely = above.max(1)
    return (best >= 0) & (likely != labels), likely
