"""Convolutions that only see what comes before a place of a picture, row by row."""

from collections.abc import Iterable

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


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
