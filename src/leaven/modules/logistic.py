"""Logistic regression on features."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from leaven.threads import one_thread

LARGEST_PRECONDITIONER = 4096  # features; beyond it a Cholesky factor costs more than the iterations that it saves
SMALL = 2**25  # numbers times classes; beyond it several threads are faster


@dataclass(frozen=True)
class LogisticFit:
    """logits = features @ weight + bias. One fit, or a batch of independent ones in the leading dimensions."""

    weight: Float[Tensor, "*problems dim classes"]
    bias: Float[Tensor, "*problems 1 classes"]
    converged: bool
    iterations: int

    def logits(self, features: Float[Tensor, "n dim"]) -> Float[Tensor, "*problems n classes"]:
        return features @ self.weight + self.bias


def fit_logistic(
    features: Float[Tensor, "*problems n dim"],
    labels: Int64[Tensor, "*problems n"],
    *,
    classes: int,
    l2: float,
    weights: Float[Tensor, "*problems n"] | None = None,
    start: LogisticFit | None = None,
    covariance: Float[Tensor, "*problems dim dim"] | None = None,
    tolerance: float = 1e-5,
) -> LogisticFit:
    """Minimise mean cross-entropy + l2 / 2 * |weight|^2, bias free, by L-BFGS; leading dimensions are separate problems.

    weights: of the samples (None: 1 each). Products with the features run in their precision, the walk itself (scipy) in float64. It goes through
    coordinates in which the loss is about round: weight = R^-1 u with R^T R = covariance / classes + l2, the Hessian of a model that knows nothing,
    so correlated features cost no more iterations. Converged when no component of the gradient in u exceeds `tolerance`, or the loss can fall no
    further in this precision.
    """
    from scipy.optimize import minimize

    problems, (n, dim) = features.shape[:-2], features.shape[-2:]
    one_hot = F.one_hot(labels, classes).to(features.dtype)
    weighed = torch.ones(n, 1, dtype=features.dtype, device=features.device) if weights is None else weights[..., None].to(features)
    if covariance is None:
        covariance = second_moments(features if weights is None else weighed.sqrt() * features)
    root, inverse = round_coordinates(covariance, classes, l2)
    sizes = [problems.numel() * dim * classes, problems.numel() * classes]

    def parts(flat: np.ndarray) -> tuple[Tensor, Tensor]:
        u, bias = torch.from_numpy(flat).to(features.device, features.dtype).split(sizes)
        u = u.view(*problems, dim, classes)
        return (u if inverse is None else inverse @ u), bias.view(*problems, 1, classes) * classes**0.5

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = parts(flat)
        log_probability = F.log_softmax(features @ weight + bias, dim=-1)
        loss = -(weighed * log_probability * one_hot).sum(dtype=torch.float64) / n + l2 / 2 * weight.square().sum(dtype=torch.float64)
        residual = weighed * (log_probability.exp() - one_hot) / n
        slope = features.mT @ residual + l2 * weight
        slope = slope if inverse is None else inverse.mT @ slope
        return loss.item(), torch.cat([slope.flatten(), residual.sum(-2).flatten() * classes**0.5]).double().cpu().numpy()

    if start is None:
        flat = np.zeros(sum(sizes))
    else:
        u = start.weight if root is None else root @ start.weight
        flat = torch.cat([u.flatten(), start.bias.flatten() / classes**0.5]).double().cpu().numpy()
    # A fall of the loss goes with the square of the gradient; below the rounding of a mean of many products nothing falls any more.
    rounding = torch.finfo(features.dtype).eps
    least_fall = max(rounding / 100, min(rounding / 4, tolerance**2 / 10))
    stop = {"maxiter": 500, "maxfun": 1000, "gtol": tolerance, "ftol": least_fall, "maxcor": 20}
    with torch.no_grad(), one_thread(features.numel() * classes < SMALL):
        end = minimize(loss_and_gradient, flat, jac=True, method="L-BFGS-B", options=stop)
        weight, bias = parts(end.x)
    # Status 2 is a line search that finds nothing lower: the end of what this precision can tell.
    return LogisticFit(weight, bias, end.status in (0, 2) and bool(np.isfinite(end.fun)), int(end.nit))


def round_coordinates(covariance: Tensor, flatness: float, l2: float) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """R with R^T R = covariance / flatness + l2, and its inverse; none when there is no covariance, and then weight = u."""
    dim = covariance.shape[-1]
    if dim == 0:
        return None, None
    curvature = covariance.double() / flatness
    floor = max(l2, 1e-5 * curvature.diagonal(dim1=-2, dim2=-1).mean().item(), 1e-12)
    unit = torch.eye(dim, dtype=torch.float64, device=covariance.device)
    root = torch.linalg.cholesky(curvature + floor * unit).mT
    inverse = torch.linalg.solve_triangular(root, unit.expand_as(root), upper=True)
    return root.to(covariance.dtype), inverse.to(covariance.dtype)


def second_moments(features: Float[Tensor, "*problems n dim"]) -> Float[Tensor, "*problems dim dim"]:
    """Second moments about 0 from at most 16,384 rows: they only shape the path of the optimiser, never its end."""
    n, dim = features.shape[-2:]
    if dim > LARGEST_PRECONDITIONER:
        return features.new_zeros(*features.shape[:-2], 0, 0)
    rows = features[..., :: max(1, n // 16384), :]
    return rows.mT @ rows / rows.shape[-2]
