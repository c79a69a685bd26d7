"""Convolutions that read a picture row by row."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leaven.encoders.encoder import Encoder, names_within
from leaven.errors import UserError
from leaven.modalities import InputSpec, Value
from leaven.modules.gated import GatedConv, through


class Causal(Encoder):
    """Gated convolutions in which no place sees what follows it; features are means over all places (van den Oord et al. 2016).

    width: channels of each of the two stacks. depth: number of layers. kernel: side of what a layer sees, odd.
    """

    name = "causal"

    def __init__(self, input: InputSpec, *, width: int = 32, depth: int = 2, kernel: int = 7):
        if width < 1 or depth < 1 or kernel < 3 or kernel % 2 == 0:
            raise UserError(f"encoder.width and depth must be 1 or more, and kernel odd from 3, not {width}, {depth} and {kernel}")
        super().__init__(input, 2 * width)
        first = GatedConv(input.shape[0] + 1, width, kernel, strict=True)
        self.layers = nn.ModuleList([first, *(GatedConv(width, width, kernel) for _ in range(depth - 1))])

    def planes(self, x: Value | Tensor) -> Float[Tensor, "batch planes height width"]:
        """What the first layer reads: the channels, and a plane of ones, which ends where the picture does."""
        x = self.normalize(x)
        return torch.cat([x, torch.ones_like(x[:, :1])], 1)

    def stacks(self, x: Value | Tensor) -> tuple[Tensor, Tensor]:
        planes = self.planes(x)
        return through(self.layers, planes, planes)

    def forward(self, x: Value | Tensor) -> Float[Tensor, "batch dim"]:
        return torch.cat(self.stacks(x), 1).mean((2, 3))

    def depths(self) -> list[list[str]]:
        return [names_within(self, layer) for layer in self.layers]
