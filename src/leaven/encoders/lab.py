"""An encoder of colour pictures in two halves: one sees the lightness, the other the colours."""

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leaven.encoders.convnet import ConvNet
from leaven.encoders.encoder import Encoder
from leaven.errors import UserError
from leaven.hyperparameters import Width
from leaven.modalities import InputSpec, Pixels, Value
from leaven.views.color import rgb_to_lab


class Lab(Encoder):
    """Two convnets side by side, one for the L and one for the ab channels of CIE Lab; their features are concatenated (Tian et al. 2019).

    It reads RGB. width, features: of each half, as in convnet.
    """

    name = "lab"
    offers = ("features", "channel_groups")

    def __init__(self, input: InputSpec, *, width: Width = 40, features: Width = 256):
        if input.shape[0] != 3:
            raise UserError(f"the lab encoder reads colour pictures, and these have {input.shape[0]} channel(s)", hint="leave --encoder out")
        super().__init__(input, 2 * features)
        self.group_dims = (features, features)
        lightness = InputSpec("pixels", (1, *input.shape[1:]), (50.0,), (25.0,))  # the middle and a usual deviation of each channel of Lab
        colors = InputSpec("pixels", (2, *input.shape[1:]), (0.0, 0.0), (15.0, 15.0))
        self.halves: Any = nn.ModuleList(ConvNet(half, width=width, features=features) for half in (lightness, colors))

    def channel_groups(self, x: Value | Tensor) -> list[Float[Tensor, "batch half"]]:
        value = Pixels(x) if isinstance(x, Tensor) else cast(Pixels, x)
        with torch.autocast(value.pixels.device.type, enabled=False):
            lab = rgb_to_lab(value.pixels if value.pixels.dtype == torch.float64 else value.unit())
        return [half(channels) for half, channels in zip(self.halves, lab.split((1, 2), dim=1), strict=True)]

    def forward(self, x: Value | Tensor) -> Float[Tensor, "batch dim"]:
        return torch.cat(self.channel_groups(x), dim=1)

    def depths(self) -> list[list[str]]:
        lightness, colors = self.halves
        return [
            [f"halves.{number}.{name}" for number, names in enumerate(blocks) for name in names]
            for blocks in zip(lightness.depths(), colors.depths(), strict=True)
        ]
