"""Losses that compare each sample with the others of its batch."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def nt_xent(a: Float[Tensor, "batch dim"], b: Float[Tensor, "batch dim"], temperature: float) -> Float[Tensor, ""]:
    """Normalised temperature-scaled cross entropy (Chen et al. 2020, eq. 1): the mean over the 2B views of
    -log exp(sim(i, j) / t) / sum over k != i of exp(sim(i, k) / t), where j is the other view of the same sample and sim the cosine.

    Identical embeddings everywhere give ln(2B - 1). Needs a batch of at least 2.
    """
    if len(a) < 2:
        raise ValueError("NT-Xent needs at least 2 samples: a batch of 1 has no negatives")
    z = F.normalize(torch.cat([a, b]), dim=1, eps=1e-6)
    logits = (z @ z.T / temperature).fill_diagonal_(float("-inf"))
    partner = torch.arange(len(z), device=z.device).roll(len(a))
    return F.cross_entropy(logits, partner)
