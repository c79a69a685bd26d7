"""Features of every layer of an encoder, and a linear probe on their weighted sum whose weights are learned with it (Yang et al. 2021, SUPERB)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from leaven.encoders import Encoder
from leaven.evaluation.features import batch_of
from leaven.evaluation.protocols.linear import L2_GRID, held_out_fifth, quality
from leaven.modalities import Value
from leaven.modalities.modality import fitted
from leaven.modules.logistic import LogisticFit, fit_logistic
from leaven.training.precision import fast_products

MOST_STEPS = 20  # of the weights, each with a probe of its own


@torch.no_grad()
def layer_features(
    encoder: Encoder, value: Value, rows: Tensor, *, device: str = "cpu", progress: Callable[[int, int], object] = lambda done, total: None
) -> Float[Tensor, "rows layers dim"]:
    """The mean over the real tokens of each layer's output, every token normalised, in fp32 on the CPU."""
    encoder, parts, done = encoder.to(device).eval(), [], 0
    for part in rows.split(batch_of(encoder.input.shape)):
        x = fitted(value[part].to(device), encoder.input)
        with fast_products(device, "fp32"):
            layers, real = encoder.token_features(x).layers, encoder.real_tokens(x)
        means = [mean_of_tokens(layer.float(), real).cpu() for layer in layers]
        parts.append(torch.stack(means, 1) if means else torch.empty(len(part), 0, encoder.dim))
        done += len(part)
        progress(done, len(rows))
    return torch.cat(parts)


def mean_of_tokens(tokens: Float[Tensor, "batch tokens dim"], real: Bool[Tensor, "batch tokens"] | None) -> Float[Tensor, "batch dim"]:
    normalised = F.layer_norm(tokens, tokens.shape[-1:])
    if real is None:
        return normalised.mean(1)
    share = real.float() / real.sum(1, keepdim=True).clamp(min=1)
    return (normalised * share[..., None]).sum(1)


@dataclass(frozen=True)
class WeightedProbe:
    """weights: of the layers, which sum to 1. l2: the chosen strength."""

    weights: Float[Tensor, " layers"]
    fit: LogisticFit
    l2: float

    def logits(self, features: Float[Tensor, "n layers dim"]) -> Float[Tensor, "n classes"]:
        return self.fit.logits(torch.einsum("l,nld->nd", self.weights, features))


def weighted_probe(
    features: Float[Tensor, "n layers dim"], labels: Int64[Tensor, " n"], *, classes: int, groups: Int64[Tensor, " n"] | None = None, seed: int = 0
) -> WeightedProbe:
    """Logistic regression on a sum of the layers, which the softmax of a number for each layer weighs; both have the smallest loss on these samples.

    The L2 strength is that with the best accuracy (see `quality`) on a fifth of them, as for the protocol `linear`. All have labels, and features of
    deviation 1 (see `standardised`).
    """
    held, best = held_out_fifth(labels, groups, seed=seed), L2_GRID[len(L2_GRID) // 2]
    start = None
    if held.any() and not held.all():
        tried: dict[float, tuple[float, float]] = {}
        for l2 in L2_GRID:
            start = fitted_weights(features[~held], labels[~held], classes=classes, l2=l2, start=start, tolerance=1e-3)
            logits = start.logits(features[held])
            tried[l2] = quality(logits, labels[held]), -F.cross_entropy(logits, labels[held]).item()
            best = max(tried, key=lambda strength: tried[strength])
            if len(tried) > 2 and all(later < tried[best] and later[1] < tried[best][1] for later in list(tried.values())[-2:]):
                break
    return fitted_weights(features, labels, classes=classes, l2=best, start=None, tolerance=3e-4)


def fitted_weights(
    features: Float[Tensor, "n layers dim"], labels: Int64[Tensor, " n"], *, classes: int, l2: float, start: WeightedProbe | None, tolerance: float
) -> WeightedProbe:
    """Both parts at once: for each choice of the weights the best probe is fitted, and the slope of its loss moves them (Golub and Pereyra 1973:
    where the probe is optimal, its own change adds nothing to the slope)."""
    from scipy.optimize import minimize

    one_hot = F.one_hot(labels, classes).float()
    fit = None if start is None else start.fit

    def probe(numbers: np.ndarray) -> tuple[Tensor, LogisticFit]:
        nonlocal fit
        weights = torch.from_numpy(numbers).softmax(0).float()
        fit = fit_logistic(torch.einsum("l,nld->nd", weights, features), labels, classes=classes, l2=l2, start=fit, tolerance=tolerance)
        return weights, fit

    def loss_and_slope(numbers: np.ndarray) -> tuple[float, np.ndarray]:
        weights, best = probe(numbers)
        by_layer = torch.einsum("nld,dc->nlc", features, best.weight)
        log_probability = F.log_softmax(torch.einsum("l,nlc->nc", weights, by_layer) + best.bias, dim=1)
        loss = -(log_probability * one_hot).sum(1).mean() + l2 / 2 * best.weight.square().sum()
        slope = torch.einsum("nlc,nc->l", by_layer, log_probability.exp() - one_hot) / len(labels)
        slope = weights * (slope - (weights * slope).sum())
        return loss.item(), slope.double().numpy()

    first = np.zeros(features.shape[1]) if start is None else start.weights.double().clamp_min(1e-6).log().numpy()
    end = minimize(loss_and_slope, first, jac=True, method="L-BFGS-B", options={"maxiter": MOST_STEPS, "maxfun": 2 * MOST_STEPS, "ftol": 1e-6})
    return WeightedProbe(*probe(end.x), l2)


def standardised(
    train: Float[Tensor, "n layers dim"], test: Float[Tensor, "m layers dim"]
) -> tuple[Float[Tensor, "n layers dim"], Float[Tensor, "m layers dim"]]:
    """Both without the mean over the training samples, and each layer divided by its root mean variance there."""
    center = train.mean(0)
    scale = (train - center).square().mean((0, 2)).sqrt().clamp_min(1e-6)[:, None]
    return (train - center) / scale, (test - center) / scale
