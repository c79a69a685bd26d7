"""Confident learning: labels that are probably wrong, by predictions for samples whose own label was not seen."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from leaven.errors import UserError

FOLDS, FEWEST = 5, 5  # labels per class, from which each fold sees every class

Predict = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""From features and labels to learn from, the features of the others, and the groups of the former (None: none): probabilities of the others."""


def check_counts(counts: Int64[Tensor, " classes"], names: Sequence[str], where: object = None) -> None:
    """UserError where a class has too few labels to say which of them are wrong. counts: labels of each class."""
    if counts.min() < FEWEST:
        fewest = int(counts.argmin())
        what = f"wrong labels are found where classes have {FEWEST} labels each, and {names[fewest]!r} has {int(counts[fewest])}"
        raise UserError(what, where=where, hint="give more labels")


def out_of_fold(
    features: Float[Tensor, "n dim"], labels: Int64[Tensor, " n"], groups: Int64[Tensor, " n"], predict: Predict
) -> Float[Tensor, "n classes"]:
    """The probabilities of each sample by a fit that has seen four fifths of the others."""
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
            scores = predict(features[~out], labels[~out], features[out], groups[~out] if known else None)
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
