"""How samples of a model compare with the data."""

import torch
from jaxtyping import Float
from torch import Tensor


def deviation(samples: Float[Tensor, "samples values"]) -> float:
    """Root mean squared distance from their mean."""
    return (samples - samples.mean(0)).square().sum(1).mean().sqrt().item()


def energy_distance(a: Float[Tensor, "samples values"], b: Float[Tensor, "others values"]) -> float:
    """1 - (E|a - a'| + E|b - b'|) / (2 E|a - b|): 0 where both are of one distribution, 1 where each is a single point (Szekely and Rizzo 2013).

    Differences of a sample to itself are left out, which keeps it unbiased; it may thus be a little below 0.
    """
    within = sum(torch.cdist(x, x).sum() / (len(x) * (len(x) - 1)) for x in (a, b))
    return (1 - within / (2 * torch.cdist(a, b).mean()).clamp(min=1e-12)).item()
