"""Losses of soft assignments to prototypes."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def across_crops(logits: list[Float[Tensor, "batch prototypes"]], targets: list[Float[Tensor, "batch prototypes"]]) -> Float[Tensor, ""]:
    """Cross-entropy between each crop's target and every other crop's prediction, the mean over these pairs (Caron et al. 2020, eq. 2;
    Caron et al. 2021, eq. 3).

    The targets, probabilities, belong to the first crops. Predictions that are alike for all prototypes give the log of their number.
    """
    predictions = [F.log_softmax(crop, dim=1) for crop in logits]
    terms = [-(targets[i] * predictions[j]).sum(1).mean() for i in range(len(targets)) for j in range(len(logits)) if i != j]
    return torch.stack(terms).mean()
