"""Sound and signals at another rate."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

FINEST = 2000  # the largest factor: of rates such as 173.61 Hz, which no small fractions relate, a ratio within 1e-6
REACH = 10  # zero crossings of the filter on each side, as scipy has it


def ratio(rate: float, target: float) -> tuple[int, int]:
    """(up, down): the target rate over the rate."""
    fraction = (Fraction(target).limit_denominator(10**6) / Fraction(rate).limit_denominator(10**6)).limit_denominator(FINEST)
    return fraction.numerator, fraction.denominator


def resampled_length(length: int, rate: float, target: float) -> int:
    """How many samples so many become."""
    up, down = ratio(rate, target)
    return -(-length * up // down)


def margin(rate: float, target: float) -> int:
    """How many samples on each side a sample at the target rate depends on: a multiple of `down`, so that parts begin where a sample lies."""
    up, down = ratio(rate, target)
    return down * -(-(REACH * max(up, down) // up + 2) // down)


def resampled(samples: np.ndarray, rate: float, target: float) -> np.ndarray:
    """The same over its last dimension at the target rate, as float32: a polyphase filter (scipy) with zeros beyond the ends."""
    from scipy.signal import resample_poly

    up, down = ratio(rate, target)
    return samples if up == down else resample_poly(samples, up, down, axis=-1).astype(np.float32)


def resampled_tensor(samples: Tensor, rate: float, target: float) -> Tensor:
    return torch.from_numpy(resampled(samples.detach().cpu().numpy(), rate, target)).to(samples.device)
