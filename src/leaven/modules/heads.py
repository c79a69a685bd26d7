"""Projectors, predictors, and prototypes to which samples are assigned, with what keeps all of them in use."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


def mlp(inputs: int, *widths: int, last_norm: bool = False, last_affine: bool = True) -> nn.Sequential:
    """Linear layers with batch norm and ReLU between them; `last_norm` ends with a batch norm without ReLU, of learned scale if `last_affine`.

    Layers before a batch norm carry no bias (the norm has its own, or takes it away).
    """
    layers: list[nn.Module] = []
    for depth, width in enumerate(widths):
        last = depth == len(widths) - 1
        layers.append(nn.Linear(inputs, width, bias=last and not last_norm))
        if not last or last_norm:
            layers.append(nn.BatchNorm1d(width, affine=not last or last_affine))
        if not last:
            layers.append(nn.ReLU(inplace=True))
        inputs = width
    return nn.Sequential(*layers)


class Prototypes(nn.Module):
    """Cosines with `count` learned directions: inputs and prototypes are normalised at every use, so that their lengths do not matter.

    That is the last layer of DINO (weight normalisation with a fixed length of 1) and of SwAV (prototypes brought back to length 1 at each step).
    """

    def __init__(self, dim: int, count: int):
        super().__init__()
        self.weight = nn.Parameter(F.normalize(torch.randn(count, dim), dim=1))

    def forward(self, x: Float[Tensor, "*batch dim"], frozen: bool = False) -> Float[Tensor, "*batch count"]:
        """frozen: the prototypes get no gradient at all (None, not 0, so that neither momentum nor weight decay moves them)."""
        weight = self.weight.detach() if frozen else self.weight
        return F.linear(F.normalize(x, dim=-1, eps=1e-6), F.normalize(weight, dim=1, eps=1e-6))


class DINOHead(nn.Module):
    """Linear layers with GELU between them, then cosines with prototypes (Caron et al. 2021, appendix C).

    widths: of the layers; the last is the bottleneck, whose outputs are compared with the prototypes. norm: batch norm before each GELU.
    """

    def __init__(self, inputs: int, widths: tuple[int, ...], prototypes: int, norm: bool = True):
        super().__init__()
        layers: list[nn.Module] = []
        for before, width in zip((inputs, *widths), widths[:-1], strict=False):
            layers += [nn.Linear(before, width, bias=not norm), *([nn.BatchNorm1d(width)] if norm else []), nn.GELU()]
        self.layers = nn.Sequential(*layers, nn.Linear((inputs, *widths)[-2], widths[-1]))
        self.prototypes = Prototypes(widths[-1], prototypes)

    def forward(self, x: Float[Tensor, "*batch inputs"], frozen: bool = False) -> Float[Tensor, "*batch prototypes"]:
        return self.prototypes(self.layers(x.flatten(0, -2)), frozen).unflatten(0, x.shape[:-1])


class Centering(nn.Module):
    """Targets from a teacher's scores: softmax of (scores - center) / temperature, the center being a running mean (Caron et al. 2021, eq. 4).

    The center is used before the batch moves it. moving: False leaves it at 0.
    """

    value: Tensor

    def __init__(self, count: int, momentum: float = 0.9, moving: bool = True):
        super().__init__()
        self.momentum, self.moving = momentum, moving
        self.register_buffer("value", torch.zeros(count))

    def forward(self, scores: Float[Tensor, "rows count"], temperature: float) -> Float[Tensor, "rows count"]:
        return ((scores - self.value) / temperature).softmax(1)

    def update(self, scores: Float[Tensor, "rows count"]) -> None:
        """Once per optimiser step, with the scores of the global batch."""
        if self.moving:
            self.value.lerp_(scores.mean(0), 1 - self.momentum)


class Balancing(nn.Module):
    """Targets from a teacher's scores that use all prototypes equally, by Sinkhorn's iterations (Oquab et al. 2023, section 4).

    balanced: False leaves the plain softmax.
    """

    def __init__(self, balanced: bool = True, iterations: int = 3):
        super().__init__()
        self.balanced, self.iterations = balanced, iterations

    def forward(self, scores: Float[Tensor, "rows count"], temperature: float) -> Float[Tensor, "rows count"]:
        return sinkhorn(scores, temperature, self.iterations) if self.balanced else (scores / temperature).softmax(1)

    def update(self, scores: Float[Tensor, "rows count"]) -> None:
        """Nothing to do: each batch is balanced by itself."""


@torch.no_grad()
def sinkhorn(scores: Float[Tensor, "rows count"], epsilon: float, iterations: int = 3) -> Float[Tensor, "rows count"]:
    """Soft assignments near exp(scores / epsilon) in which every row sums to 1 and all columns sum to about the same
    (Cuturi 2013; Caron et al. 2020, eq. 3 to 5).

    In logarithms, so that no score is too large. The rows sum to 1 exactly, the columns to rows / count the better the more iterations.
    """
    log = scores / epsilon
    share = math.log(len(scores) / scores.shape[1])
    for _ in range(iterations):
        log = log - log.logsumexp(0, keepdim=True) + share
        log = log - log.logsumexp(1, keepdim=True)
    return log.exp()
