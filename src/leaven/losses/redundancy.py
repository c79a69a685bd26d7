"""Losses that spread embeddings over all dimensions: each varies, and none repeats another."""

import torch
from jaxtyping import Float
from torch import Tensor


def cross_correlation(a: Float[Tensor, "batch dim"], b: Float[Tensor, "batch dim"]) -> Float[Tensor, "dim dim"]:
    """Correlation over the batch of each dimension of a with each of b, from -1 to 1 (Zbontar et al. 2021, eq. 2). A constant one gives 0."""
    first, second = ((z - z.mean(0)) * torch.rsqrt(z.var(0, correction=0) + 1e-5) for z in (a, b))
    return first.T @ second / len(a)


def barlow_twins(a: Float[Tensor, "batch dim"], b: Float[Tensor, "batch dim"]) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Invariance and redundancy (Zbontar et al. 2021, eq. 1): how far the diagonal of the cross-correlation is from 1, and the rest from 0,
    summed squares."""
    correlation = cross_correlation(a, b)
    diagonal = correlation.diagonal()
    return (1 - diagonal).square().sum(), correlation.square().sum() - diagonal.square().sum()


def variance_hinge(z: Float[Tensor, "batch dim"]) -> Float[Tensor, ""]:
    """Mean over dimensions of max(0, 1 - standard deviation) (Bardes et al. 2022, eq. 1 and 2)."""
    return torch.relu(1 - (z.var(0) + 1e-4).sqrt()).mean()


def covariance(z: Float[Tensor, "batch dim"]) -> Float[Tensor, ""]:
    """Sum of squared covariances of different dimensions, divided by their number (Bardes et al. 2022, eq. 3 and 4)."""
    centered = z - z.mean(0)
    matrix = centered.T @ centered / (len(z) - 1)
    return (matrix.square().sum() - matrix.diagonal().square().sum()) / z.shape[1]
