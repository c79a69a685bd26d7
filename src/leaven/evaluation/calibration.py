"""Whether probabilities mean what they say."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

BINS = 15


def calibration_error(probabilities: Float[Tensor, "n classes"], labels: Int64[Tensor, "n"], *, bins: int = BINS) -> float:
    """Expected calibration error (Guo et al. 2017, eq. 3): mean distance of accuracy from confidence over bins of equal width, weighted by size.

    0 is best. With few samples it comes out too large, since each bin's accuracy is rough.
    """
    confidence, predicted = probabilities.double().max(dim=1)
    correct = (predicted == labels).double()
    place = (confidence * bins).ceil().long().clamp(1, bins) - 1  # bins are open below and closed above
    difference = torch.zeros(bins, dtype=torch.float64).index_add_(0, place, correct - confidence)
    return (difference.abs().sum() / len(labels)).item()


__all__ = ["calibration_error"]
