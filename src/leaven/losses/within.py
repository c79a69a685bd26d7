"""Means over places of samples of different length."""

from jaxtyping import Bool, Float
from torch import Tensor


def mean_within(values: Float[Tensor, "batch places"], counted: Bool[Tensor, "batch places"]) -> Float[Tensor, ""]:
    """The mean over samples of each one's mean over the places that are counted; a sample without any counts as 0."""
    return ((values * counted).sum(1) / counted.sum(1).clamp(min=1)).mean()
