"""The area under the ROC curve (AUC) of two classes, which takes the place of accuracy where one of them is so common that naming it is nearly always
right."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from leaven.evaluation.gains import PerSample
from leaven.evaluation.intervals import Groups, Interval, crossed_interval, exact_bound
from leaven.evaluation.sentences import AUC

UNEVEN = 2 / 3
"""The share of the commonest class from which accuracy says little."""


def margin(scores: Float[Tensor, "*draws n classes"]) -> Float[Tensor, "*draws n"] | None:
    """How much higher the second class scores than the first; None unless there are two."""
    return scores[..., 1] - scores[..., 0] if scores.shape[-1] == 2 else None


def with_auc(
    point: dict[str, Any], margins: Float[Tensor, "*draws n"] | None, labels: Int64[Tensor, " n"], *, groups: Groups = None
) -> dict[str, Any]:
    """A point of accuracy on these samples with {auc, auc_interval, auc_per_sample} of the margins, where there are two classes; else the same point.

    Where one class has more than two thirds of the samples, `measure` says that the AUC sums the point up.
    """
    counts = labels.bincount()
    if margins is None or len(counts) != 2 or not counts.min():
        return point
    values = auc_values(margins, labels == 1)
    interval = auc_interval(values, labels, groups)
    point |= {AUC: values.mean().item(), f"{AUC}_interval": list(interval), f"{AUC}_per_sample": PerSample(values, groups)}
    return point | ({"measure": AUC} if is_uneven(labels) else {})


def is_uneven(labels: Int64[Tensor, " n"]) -> bool:
    """Whether there are two classes, and more than two thirds of the samples are of one of them."""
    counts = labels.bincount()
    return len(counts) == 2 and bool(counts.min() > 0) and counts.max().item() > UNEVEN * len(labels)


def auc_values(scores: Float[Tensor, "*draws n"], positive: Shaped[Tensor, " n"]) -> Float[Tensor, "*draws n"]:
    """A number for each sample whose mean is the AUC, and whose variance is n times that of the AUC (DeLong et al. 1988, equation 4).

    The AUC is the chance that a positive sample has a higher score than a negative one, equal scores counting half. Each sample of a class of n_c has
    AUC + n / n_c (share - AUC), with the share of the samples of the other class that it is on the right side of.
    """
    from scipy.stats import rankdata

    there, ranks = positive.bool().cpu().numpy(), rankdata(scores.double().cpu().numpy(), axis=-1)
    share = np.empty_like(ranks)
    for side in (there, ~there):
        below = ranks[..., side] - rankdata(ranks[..., side], axis=-1)
        share[..., side] = below / (~side).sum()
    share[..., ~there] = 1 - share[..., ~there]
    auc = share[..., there].mean(-1, keepdims=True)
    return torch.from_numpy(auc + np.where(there, len(there) / there.sum(), len(there) / (~there).sum()) * (share - auc))


def auc_interval(values: Float[Tensor, "*draws n"], labels: Int64[Tensor, " n"], groups: Groups = None) -> Interval:
    """95 % interval of their mean. Where all samples are on the right side, or on the wrong one, they have no spread, and the bound of a share of the
    rarer class stands in."""
    auc = values.mean().item()
    if auc in (0.0, 1.0):
        rare = labels == labels.bincount().argmin()
        return exact_bound(auc, int(rare.sum()) if groups is None else len(groups[rare].unique()))
    low, high = crossed_interval(values.reshape(-1, len(labels)), groups=groups)
    return max(low, 0.0), min(high, 1.0)
