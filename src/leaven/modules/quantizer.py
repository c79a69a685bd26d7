"""A quantiser whose codes are chosen by a softmax: vectors become one entry of each of several codebooks."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

LEAST_SHARE = 1e-12  # below which a share has no gradient: at 0 it would be infinite


class Choices(NamedTuple):
    """vectors (..., dim): the entries of all groups side by side. chosen, likeliest (..., groups) int64: the numbers of these entries, and of those
    that would be taken without noise. shares (..., groups, codes): the softmax without noise and temperature."""

    vectors: Tensor
    chosen: Tensor
    likeliest: Tensor
    shares: Tensor


class GumbelQuantizer(nn.Module):
    """Product quantisation by a Gumbel softmax (Baevski et al. 2020, eq. 1): hard choices with the gradient of the softmax.

    inputs: size of a vector. dim: of what replaces it, a multiple of groups. codes: entries of each group.
    """

    def __init__(self, inputs: int, dim: int, groups: int, codes: int):
        super().__init__()
        self.groups, self.codes = groups, codes
        self.logits = nn.Linear(inputs, groups * codes)
        nn.init.normal_(self.logits.weight)  # so that choices depend on the vectors from the first step on
        nn.init.zeros_(self.logits.bias)
        self.entries = nn.Embedding(groups * codes, dim // groups)

    def forward(
        self, vectors: Float[Tensor, "batch frames inputs"], noise: Float[Tensor, "batch frames groups codes"] | None = None, temperature: float = 1.0
    ) -> Choices:
        """noise: from the Gumbel distribution; without it the likeliest entries are taken, as they are where a model is used. temperature: of the
        softmax that gives the gradient (above 0)."""
        logits = self.logits(vectors).unflatten(2, (self.groups, self.codes))
        logits = logits.to(self.logits.weight)
        soft = ((logits if noise is None else logits + noise) / temperature).softmax(3)
        chosen = soft.argmax(3)
        hard = F.one_hot(chosen, self.codes).to(soft) + (soft - soft.detach())
        entries = self.entries.weight.unflatten(0, (self.groups, self.codes)).to(hard)
        return Choices(torch.einsum("btgv,gvd->btgd", hard, entries).flatten(2), chosen, logits.argmax(3), logits.softmax(3))


def group_perplexity(shares: Float[Tensor, "groups codes"]) -> Float[Tensor, ""]:
    """exp of the entropy of each group's shares, summed over the groups: from their number, where one entry is always taken, to all entries."""
    return torch.special.entr(shares.clamp(min=LEAST_SHARE)).sum(1).exp().sum()
