"""Classifiers of frozen features from a few labels, and the choice between them by cross-validation on these labels.

They take features that are centred and divided by one number, their root mean variance. Leading dimensions are separate problems, which share their
labels. Samples of weight 0 take no part.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from leaven.modules.logistic import LogisticFit, fit_logistic

MOST_FOLDS = 5
PENALTY = 1.0  # of logistic regression: scikit-learn's 1 / C
NEIGHBOURS, TEMPERATURE = 20, 0.07  # as in the protocol `knn`
NOWHERE = -1e4  # the score of a class without samples


@dataclass(frozen=True)
class Linear:
    """scores = features @ weight + bias, the highest names the class."""

    weight: Float[Tensor, "problems dim classes"]
    bias: Float[Tensor, "problems 1 classes"]

    def scores(self, features: Float[Tensor, "*problems n dim"]) -> Float[Tensor, "problems n classes"]:
        return features @ self.weight + self.bias

    def spread(self, basis: Float[Tensor, "problems large dim"]) -> Self:
        """The same for features in another basis, in fp32."""
        return type(self)((basis @ self.weight).float(), self.bias.float())


@dataclass(frozen=True)
class Neighbours:
    """The nearest samples vote with exp(cosine / temperature) (Wu et al. 2018, section 3.4); scores are logarithms of the sums."""

    samples: Float[Tensor, "problems labeled dim"]
    one_hot: Float[Tensor, "labeled classes"]
    weights: Float[Tensor, "problems labeled"]

    def scores(self, features: Float[Tensor, "*problems n dim"]) -> Float[Tensor, "problems n classes"]:
        cosines = F.normalize(features, dim=-1) @ F.normalize(self.samples, dim=-1).mT
        cosines = cosines.masked_fill(self.weights[:, None] == 0, -2)
        near, place = cosines.topk(min(NEIGHBOURS, cosines.shape[-1]), dim=-1)
        votes = ((near - near[..., :1]) / TEMPERATURE).exp().masked_fill(near < -1.5, 0)
        return (torch.zeros_like(cosines).scatter_(-1, place, votes) @ self.one_hot).log().clamp_min(NOWHERE)

    def spread(self, basis: Float[Tensor, "problems large dim"]) -> Self:
        return type(self)((self.samples @ basis.mT).float(), self.one_hot.float(), self.weights.float())


Fit = Callable[[Tensor, Tensor, Tensor], Linear | Neighbours]
"""From (problems, n, dim) features, (n, classes) one-hot labels and (problems, n) weights."""


def ridge(features: Tensor, one_hot: Tensor, weights: Tensor, *, penalty: float) -> Linear:
    """Least squares onto one-hot labels. penalty: of the squared weights, in mean squared lengths of the samples."""
    share = (weights / weights.sum(-1, keepdim=True))[..., None]
    center, level = (share * features).sum(-2, keepdim=True), (share * one_hot).sum(-2, keepdim=True)
    root = weights[..., None].sqrt()
    x, target = root * (features - center), root * (one_hot - level)
    dual = x.shape[-2] <= x.shape[-1]
    products = x @ x.mT if dual else x.mT @ x
    length = products.diagonal(dim1=-2, dim2=-1).sum(-1) / weights.sum(-1)
    shrinkage = penalty * length.clamp_min(1e-6)[:, None, None] * torch.eye(products.shape[-1], dtype=x.dtype)
    root_of_products = torch.linalg.cholesky(products + shrinkage)  # LU by oneMKL fails on batches of 300 x 300 in two threads
    weight = x.mT @ torch.cholesky_solve(target, root_of_products) if dual else torch.cholesky_solve(x.mT @ target, root_of_products)
    return Linear(weight, level - center @ weight)


def logistic(features: Tensor, one_hot: Tensor, weights: Tensor, *, penalty: float = PENALTY) -> Linear:
    """Summed cross-entropy + penalty * |weight|^2 / 2, bias free."""
    exact = features.dtype == torch.float64
    labels = one_hot.argmax(1).expand(features.shape[:-1])
    classes, l2 = one_hot.shape[1], penalty / features.shape[-2]
    fit: LogisticFit = fit_logistic(features, labels, classes=classes, l2=l2, weights=weights, tolerance=1e-6 if exact else 1e-3)
    return Linear(fit.weight, fit.bias)


def nearest_mean(features: Tensor, one_hot: Tensor, weights: Tensor) -> Linear:
    """The class whose mean is nearest (Snell et al. 2017, section 2.4: a linear classifier)."""
    counts = weights @ one_hot
    mean = (one_hot.T @ (weights[..., None] * features)) / counts.clamp_min(1e-12)[..., None]
    bias = (-mean.square().sum(-1) / 2).masked_fill(counts == 0, NOWHERE)
    return Linear(mean.mT, bias[:, None])


def neighbours(features: Tensor, one_hot: Tensor, weights: Tensor) -> Neighbours:
    return Neighbours(features, one_hot, weights)


LINEAR: Mapping[str, Fit] = {
    "ridge": partial(ridge, penalty=1.0),
    "logistic": logistic,
    "nearest class mean": nearest_mean,
}
PROBES: Mapping[str, Fit] = {**LINEAR, "nearest neighbours": neighbours}
"""The first is that of choice where nothing can be cross-validated: the best of one kind over 1 to 10 labels per class of three data sets."""


FIRST: Mapping[str, Fit] = dict([next(iter(PROBES.items()))])


@dataclass(frozen=True)
class Choice:
    """probe: the place of the chosen probe among those that there were, for each problem. scores: of all probes for each sample, by fits that did not
    see it. known: the samples whose class took part in these fits."""

    probe: Int64[Tensor, " problems"]
    scores: Float[Tensor, "probes problems n classes"]
    known: Bool[Tensor, "problems n"]


def choose_probe(
    features: Float[Tensor, "problems n dim"],
    labels: Int64[Tensor, " n"],
    *,
    classes: int,
    probes: Mapping[str, Fit] = PROBES,
    weights: Float[Tensor, " n"] | None = None,
    groups: Int64[Tensor, "problems n"] | None = None,
) -> Choice | None:
    """The probe that names most left-out samples correctly; None where every class has a single sample, so that none can be left out.

    Each fold leaves out a fifth of every class (of classes with fewer than 5 samples, one sample) and what shares a group with that. Another probe
    than the first is chosen where it is better by more than one standard error of the difference (Breiman et al. 1984, section 3.4.3): with a few
    labels, the best of several is often so by chance. weights: of the samples, in the fits and in the choice.
    """
    rank = ranks(labels)
    folds = min(MOST_FOLDS, int(rank.max()) + 1)
    if folds < 2:
        return None
    weight = torch.ones(len(labels)) if weights is None else weights.float()
    one_hot = F.one_hot(labels, classes).float()
    scores = torch.zeros(len(probes), *features.shape[:2], classes)
    known = torch.zeros(features.shape[:2], dtype=torch.bool)
    for fold in range(folds):
        left = rank % folds == fold
        seen = (weight * ~left).expand(features.shape[:2])
        if groups is not None:
            shared = ((groups[:, :, None] == groups[:, None, left]) & (groups >= 0)[:, :, None]).any(-1)
            seen = seen * ~shared
        known[:, left] = (seen @ one_hot)[:, labels[left]] > 0
        seen = torch.where(seen.any(1, keepdim=True), seen, weight)  # a fit of nothing would be no numbers; nothing is known there
        for place, fit in enumerate(probes.values()):
            scores[place][:, left] = fit(features, one_hot, seen).scores(features[:, left])
    correct = ((scores.argmax(-1) == labels) & known) * weight
    gain = correct - correct[:1]
    sure = gain.sum(-1) - gain.square().sum(-1).sqrt()
    best = sure.argmax(0)
    return Choice(torch.where(sure.amax(0) > 0, best, 0), scores, known)


def ranks(labels: Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """The number of each sample within its class, in their order."""
    order = labels.argsort(stable=True)
    of_class = labels[order]
    return torch.empty_like(order).scatter_(0, order, torch.arange(len(labels)) - torch.searchsorted(of_class, of_class))
