"""Convolutions that read a picture row by row, and only see what comes before a place."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from leaven.encoders.encoder import Encoder, names_within
from leaven.errors import UserError
from leaven.hyperparameters import Depth, Width
from leaven.modalities import InputSpec, Value


class GatedConv(nn.Module):
    """One layer of two stacks, which together see everything before a place and nothing else (van den Oord et al. 2016, fig. 2).

    `above` sees rows above a place (and, unless `strict`, its own row of its input), `left` what lies to its left (and, unless `strict`, the place
    itself), and what `above` sees. With a strict first layer and others that are not, no place ever depends on itself or what follows. Gates have no
    tanh (Dauphin et al. 2017): it takes long on CPUs, and MNIST is learned sooner without.

    inputs, width: channels. kernel: side of the square in which `above` and `left` see half, odd. classes: conditions that shift the gates (eq. 4).
    """

    def __init__(self, inputs: int, width: int, kernel: int, *, strict: bool = False, classes: int = 0):
        super().__init__()
        self.side, self.strict = kernel // 2, strict
        self.above = nn.Conv2d(inputs, 2 * width, (self.side + 1, kernel))
        self.left = nn.Conv2d(inputs, 2 * width, (1, self.side + 1))
        self.link = nn.Conv2d(2 * width, 2 * width, 1)
        self.out = nn.Conv2d(width, width, 1)
        self.condition = nn.Embedding(classes, 2 * width) if classes else None

    def rows(self, above: Float[Tensor, "batch inputs height width"], label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The next `above` (batch, width, ...), and its `link` to `left` (batch, 2 width, ...)."""
        seen = self.above(F.pad(above, (self.side, self.side, self.side + self.strict, -self.strict)))
        if self.condition is not None:
            seen = seen + self.condition(label)[:, :, None, None]
        gated = F.glu(seen, 1)
        return (gated if self.strict else above + gated), self.link(seen)

    def places(self, left: Float[Tensor, "batch inputs height width"], link: Tensor) -> Float[Tensor, "batch width height width"]:
        """The next `left`; rows are independent of each other."""
        gated = self.out(F.glu(self.left(F.pad(left, (self.side + self.strict, -self.strict, 0, 0))) + link, 1))
        return gated if self.strict else left + gated


def through(layers: Iterable[nn.Module], above: Tensor, left: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Both stacks after these layers."""
    for layer in layers:
        assert isinstance(layer, GatedConv)
        above, link = layer.rows(above, label)
        left = layer.places(left, link)
    return above, left


class Causal(Encoder):
    """Gated convolutions in which no place sees what follows it; features are means over all places (van den Oord et al. 2016).

    width: channels of each of the two stacks. depth: number of layers. kernel: side of what a layer sees, odd.
    """

    name = "causal"

    def __init__(self, input: InputSpec, *, width: Width = 32, depth: Depth = 2, kernel: Width = 7):
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
