"""Calibrated probabilities."""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

LARGEST = 100.0


def best_temperature(logits: Float[Tensor, "n classes"], labels: Int64[Tensor, "n"]) -> float:
    """The best divisor of logits: the temperature with the lowest cross-entropy on held-out labels (Guo et al. 2017, section 4.2).

    Between 1/100 and 100, which bounds the answer where all labels are right, or no better than by chance.
    """
    from scipy.optimize import minimize_scalar

    logits, labels = logits.double().cpu(), labels.cpu()
    bound = math.log(LARGEST)

    def cross_entropy(log_temperature: float) -> float:
        return F.cross_entropy(logits / math.exp(log_temperature), labels).item()

    with torch.no_grad():
        return math.exp(minimize_scalar(cross_entropy, bounds=(-bound, bound), method="bounded").x)
