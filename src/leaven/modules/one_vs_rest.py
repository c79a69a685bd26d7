"""Logistic regression of each tag against all samples that have it not, for many tags at once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from leaven.modules.logistic import round_coordinates, second_moments

L2_GRID = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)  # on standardised features, against the mean over samples of each tag's cross-entropy; strong to weak
FOLDS = 5
SMALL = 2**20  # numbers in the features up to which every fold is held out in turn, and not the first alone


@dataclass(frozen=True)
class TagProbe:
    """logits = features @ weight + bias. l2, threshold: chosen on held-out training samples; a tag is given where its probability reaches the
    threshold."""

    weight: Float[Tensor, "dim tags"]
    bias: Float[Tensor, " tags"]
    l2: float
    threshold: float

    def probabilities(self, features: Float[Tensor, "n dim"]) -> Float[Tensor, "n tags"]:
        return torch.cat([(part.float() @ self.weight + self.bias).sigmoid() for part in features.split(16384)])


def probe_tags(
    features: Float[Tensor, "n dim"],
    present: Bool[Tensor, "n tags"],
    strata: Int64[Tensor, " n"],
    *,
    groups: Int64[Tensor, " n"] | None = None,
    balanced: bool = False,
    one_scale: bool = False,
    seed: int = 0,
) -> TagProbe:
    """A probe on features standardised by the training samples, all of which have labels. one_scale: features are divided by their root mean
    variance, and not each by its own deviation, which makes small weights of the features themselves.

    The L2 strength is the one of `L2_GRID` with the lowest cross-entropy on held-out samples, and the threshold the one with the highest micro F1
    there: a fifth of every stratum, or whole groups; of few samples each fifth in turn. balanced: samples that have a tag, and those that have not,
    count alike.
    """
    spread, center = torch.std_mean(features.float(), dim=0, correction=0)
    alone = torch.where(spread <= 1e-6 * torch.maximum(spread.max(), center.abs()), 1.0, spread)
    scale = spread.square().mean().sqrt().clamp_min(1e-12).expand_as(spread) if one_scale else alone
    x, y = (features.float() - center) / scale, present.float()
    basis = None
    if x.shape[1] > len(x):  # all that a penalised fit can use lies in the span of the samples
        basis = torch.linalg.svd(x, full_matrices=False).Vh.mT
        x = x @ basis
    weights = None if not balanced else ((1 - y).sum(0) / y.sum(0).clamp_min(1)).clamp_min(1e-3)
    fold = folds_of(strata, groups, seed)
    turns = [number for number in range(FOLDS if x.numel() <= SMALL else 1) if (fold == number).any() and (fold != number).any()]
    best, threshold, fit = L2_GRID[len(L2_GRID) // 2], 0.5, None
    if turns:
        held = torch.isin(fold, torch.tensor(turns))
        fits: dict[int, tuple[Tensor, Tensor] | None] = dict.fromkeys(turns)
        tried: dict[float, tuple[float, Tensor]] = {}
        for l2 in L2_GRID:
            logits = torch.empty_like(y)
            for number in turns:
                out = fold == number
                fits[number] = weight, bias = fit_tags(x[~out], y[~out], l2=l2, weights=weights, start=fits[number], tolerance=1e-3)
                logits[out] = x[out] @ weight + bias
            tried[l2] = F.binary_cross_entropy_with_logits(logits[held], y[held]).item(), logits[held].sigmoid()
            if len(tried) > 2 and all(one[0] < other[0] for one, other in pairwise(list(tried.values())[-3:])):
                break
        best = min(tried, key=lambda strength: tried[strength][0])
        threshold = best_threshold(tried[best][1], present[held])
    weight, bias = fit_tags(x, y, l2=best, weights=weights, start=fit)
    weight = (weight if basis is None else basis @ weight) / scale[:, None]
    return TagProbe(weight, bias - center @ weight, best, threshold)


def folds_of(strata: Int64[Tensor, " n"], groups: Int64[Tensor, " n"] | None, seed: int) -> Int64[Tensor, " n"]:
    """A number below `FOLDS` for each sample: of every stratum alike, or the same for a whole group (-1 = a group of its own)."""
    count, draw = len(strata), torch.Generator().manual_seed(seed)
    if groups is not None and (groups >= 0).any():
        alone = groups < 0
        _, member = torch.where(alone, groups.max() + 1 + alone.cumsum(0), groups).unique(return_inverse=True)
        return (torch.randperm(int(member.max()) + 1, generator=draw) % FOLDS)[member]
    shuffled = torch.randperm(count, generator=draw)
    order = shuffled[strata[shuffled].argsort(stable=True)]
    fold = torch.empty(count, dtype=torch.int64)
    fold[order] = torch.arange(count) % FOLDS
    return fold


def fit_tags(
    features: Float[Tensor, "n dim"],
    present: Float[Tensor, "n tags"],
    *,
    l2: float,
    weights: Float[Tensor, " tags"] | None = None,
    start: tuple[Tensor, Tensor] | None = None,
    tolerance: float = 1e-4,
) -> tuple[Float[Tensor, "dim tags"], Float[Tensor, " tags"]]:
    """Weight and bias with the smallest mean cross-entropy + l2 / 2 * |weight|^2 of every tag, bias free, by L-BFGS.

    weights: of samples that have a tag, where others count 1. The walk goes through coordinates in which the loss is about round, as that of
    `fit_logistic` does.
    """
    from scipy.optimize import minimize

    (n, dim), tags = features.shape, present.shape[1]
    rate = present.mean(0).clamp(0.5 / n, 1 - 0.5 / n)
    root, inverse = round_coordinates(second_moments(features), 1 / float((rate * (1 - rate)).mean()), l2)

    def parts(flat: np.ndarray) -> tuple[Tensor, Tensor]:
        u, bias = torch.from_numpy(flat).to(features).split([dim * tags, tags])
        return (u.view(dim, tags) if inverse is None else inverse @ u.view(dim, tags)), bias

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = parts(flat)
        logits = features @ weight + bias
        each = 1.0 if weights is None else 1 + (weights - 1) * present
        loss = (each * (F.softplus(logits) - present * logits)).sum(dtype=torch.float64) / n + l2 / 2 * weight.square().sum(dtype=torch.float64)
        residual = each * (logits.sigmoid() - present) / n
        slope = features.mT @ residual + l2 * weight
        slope = slope if inverse is None else inverse.mT @ slope
        return loss.item(), torch.cat([slope.flatten(), residual.sum(0)]).double().numpy()

    weight, bias = start or (features.new_zeros(dim, tags), rate.logit())
    flat = torch.cat([(weight if root is None else root @ weight).flatten(), bias]).double().numpy()
    with torch.no_grad():
        end = minimize(loss_and_gradient, flat, jac=True, method="L-BFGS-B", options={"maxiter": 300, "gtol": tolerance, "ftol": 1e-8, "maxcor": 20})
        return parts(end.x)


def best_threshold(probabilities: Float[Tensor, "n tags"], present: Bool[Tensor, "n tags"]) -> float:
    """The threshold with the highest micro F1, halfway between two probabilities."""
    order = probabilities.flatten().double().sort(descending=True)
    right = present.flatten()[order.indices].double().cumsum(0)
    f1 = 2 * right / (torch.arange(1, len(right) + 1) + present.sum())
    f1[:-1][order.values[:-1] == order.values[1:]] = -1  # equal probabilities are given together
    last = int(f1.argmax())
    below = order.values[last + 1].item() if last + 1 < len(right) else 0.0
    return (order.values[last].item() + below) / 2
