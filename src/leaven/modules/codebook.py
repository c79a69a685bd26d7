"""A codebook: vectors are replaced by the nearest of its codes."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn


class Codebook(nn.Module):
    """`codes` vectors of `size` numbers, which are running means of the vectors assigned to them, or take gradients where a method lets them.

    usage: running mean of how many vectors of a batch each code takes, from 1.
    """

    usage: Tensor

    def __init__(self, codes: int, size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(codes, size) * size**-0.5, requires_grad=False)
        self.register_buffer("usage", torch.ones(codes))

    @torch.no_grad()
    def nearest(self, vectors: Float[Tensor, "*batch size"]) -> Int64[Tensor, "*batch"]:
        """The number of the nearest code; in full precision whatever the autocast, since squares are subtracted."""
        with torch.autocast(vectors.device.type, enabled=False):
            distance = self.weight.square().sum(1) - 2 * vectors.to(self.weight) @ self.weight.T
        return distance.argmin(-1)

    def forward(self, chosen: Int64[Tensor, "*batch"]) -> Float[Tensor, "*batch size"]:
        return self.weight[chosen]

    @torch.no_grad()
    def follow(self, vectors: Float[Tensor, "count size"], chosen: Int64[Tensor, " count"], momentum: float, moves: bool = True) -> None:
        """Once per optimiser step: usage, and each code (if it `moves`) as running means of what the batch assigns to it
        (van den Oord et al. 2017, appendix A.1, eq. 6-8, whose sums are here the products of usage and code)."""
        assigned = chosen.bincount(minlength=len(self.usage)).to(self.usage)
        self.usage.lerp_(assigned, 1 - momentum)
        if moves:
            sums = torch.zeros_like(self.weight).index_add_(0, chosen, vectors.to(self.weight))
            share = (1 - momentum) / self.usage[:, None].clamp_min(1e-12)
            self.weight.add_(share * (sums - assigned[:, None] * self.weight))

    @torch.no_grad()
    def restart(self, vectors: Float[Tensor, "count size"], below: float) -> None:
        """Codes with less than the share `below` of an even division restart at the first of these vectors (Dhariwal et al. 2020, section 3)."""
        evenly = len(vectors) / len(self.usage)
        dead = (self.usage < below * evenly).nonzero()[: len(vectors), 0]
        self.weight[dead] = vectors[: len(dead)].to(self.weight)
        self.usage[dead] = evenly


def straight_through(vectors: Float[Tensor, "*shape"], codes: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The codes, with the gradient of the vectors that they replace (van den Oord et al. 2017, section 3.2)."""
    return codes.detach() + (vectors - vectors.detach())  # exactly the codes, since what is added is 0


def perplexity(chosen: Int64[Tensor, "*batch"], codes: int) -> float:
    """exp of the entropy of how often each code is used: 1 where one is always used, `codes` where all are used equally often."""
    share = chosen.flatten().bincount(minlength=codes).double() / chosen.numel()
    return torch.special.entr(share).sum().exp().item()
