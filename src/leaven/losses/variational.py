"""Codes drawn from Gaussians, and bounds of likelihoods by them."""

import math

from jaxtyping import Float
from torch import Tensor


def reparameterize(
    mean: Float[Tensor, "batch code"], log_variance: Float[Tensor, "batch code"], noise: Float[Tensor, "batch samples code"]
) -> Float[Tensor, "batch samples code"]:
    """Codes from noise (Kingma and Welling 2014, section 2.4)."""
    return mean[:, None] + (0.5 * log_variance).exp()[:, None] * noise


def gaussian_kl(mean: Float[Tensor, "batch code"], log_variance: Float[Tensor, "batch code"]) -> Float[Tensor, "batch code"]:
    """KL(N(mean, variance) || N(0, 1)) of each number, in nats (Kingma and Welling 2014, appendix B)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def gaussian_log_prob(
    codes: Float[Tensor, "batch samples code"], mean: Float[Tensor, "batch code"], log_variance: Float[Tensor, "batch code"]
) -> Float[Tensor, "batch samples"]:
    """Log densities of codes under Gaussians."""
    squared = (codes - mean[:, None]).square() * (-log_variance).exp()[:, None]
    return -0.5 * (squared + log_variance[:, None] + math.log(2 * math.pi)).sum(2)


def log_mean_exp(weights: Float[Tensor, "batch samples"]) -> Float[Tensor, " batch"]:
    """log of the mean of exp over the samples (Burda et al. 2016, eq. 8)."""
    return weights.logsumexp(1) - math.log(weights.shape[1])
