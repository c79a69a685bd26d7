"""Projectors and predictors."""

from jaxtyping import Float
from torch import Tensor, nn

from leaven.modules.prototypes import Prototypes


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
