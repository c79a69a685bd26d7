"""Convolutions with stride and nothing else: the discriminator of DCGAN."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from leaven.encoders.encoder import Encoder, names_within
from leaven.errors import UserError
from leaven.hyperparameters import Width
from leaven.modalities import InputSpec, Value

SMALLEST = 4, 7  # sides of the smallest maps


class Strided(Encoder):
    """Convolutions that each halve the maps, until their side is 4 to 7 (the discriminator of Radford et al. 2016).

    The features are the largest values of every layer in each cell of a coarse grid (section 5.1).
    width: channels after the first halving, which double with every further one. norm: whether batch norm follows every layer but the first.
    grid: cells along each side that features are pooled over (the paper has 4).
    """

    name = "strided"
    offers = ("features", "maps")

    def __init__(self, input: InputSpec, *, width: Width = 64, norm: bool = True, grid: Width = 2):
        if width < 1 or grid < 1:
            raise UserError(f"width and grid must be 1 or more, not {width} and {grid}")
        channels, *sides = input.shape
        widths = [width * 2**depth for depth in range(halvings(*sides))]
        places = [[pooled(side >> depth, grid) for side in sides] for depth in range(1, len(widths) + 1)]
        super().__init__(input, sum(width * math.prod(place) for width, place in zip(widths, places, strict=True)))
        self.grid, self.widths = grid, widths
        first = [True] + [not norm] * (len(widths) - 1)
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 4, 2, 1, bias=biased) for before, after, biased in zip([channels, *widths], widths, first, strict=False)
        )
        self.norms = nn.ModuleList(nn.Identity() if biased else nn.BatchNorm2d(after) for after, biased in zip(widths, first, strict=True))

    def layers(self, x: Value | Tensor) -> list[Tensor]:
        """The maps of every layer, from the largest to the smallest."""
        x = self.normalize(x)
        return [x := F.leaky_relu(norm(conv(x)), 0.2) for conv, norm in zip(self.convs, self.norms, strict=True)]

    def maps(self, x: Value | Tensor) -> Float[Tensor, "batch channels height width"]:
        return self.layers(x)[-1]

    def forward(self, x: Value | Tensor) -> Float[Tensor, "batch dim"]:
        return torch.cat([self.pool(maps).flatten(1) for maps in self.layers(x)], dim=1)

    def pool(self, maps: Tensor) -> Tensor:
        return F.max_pool2d(maps, [-(-side // self.grid) for side in maps.shape[2:]], ceil_mode=True)

    def depths(self) -> list[list[str]]:
        return [names_within(self, conv, norm) for conv, norm in zip(self.convs, self.norms, strict=True)]


def pooled(side: int, grid: int) -> int:
    """Cells along a side that is divided into at most `grid` of them."""
    return -(-side // -(-side // grid))


def halvings(height: int, width: int) -> int:
    """How often both sides are halved until neither is above 7. UserError where they do not divide so."""
    times = max(0, math.ceil(math.log2(max(height, width) / (SMALLEST[1] + 0.5))))
    if times == 0 or height % 2**times or width % 2**times or min(height, width) >> times < SMALLEST[0]:
        raise UserError(
            f"pictures of {height} x {width} cannot be halved again and again down to a side of {SMALLEST[0]} to {SMALLEST[1]}",
            hint="choose --size 28, 32 or 64",
        )
    return times
