"""The network of diffusion models, read in its middle."""

import itertools
import math
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from leaven.data.batch import Value
from leaven.data.spec import InputSpec
from leaven.encoders.encoder import Encoder
from leaven.errors import UserError

MIDDLE = 8  # largest side of the maps in the middle, where every position attends to all others


class UNet(Encoder):
    """Finds the noise in a picture (Ho et al. 2020, appendix B; diffusers' UNet2DModel). Features are its middle maps, pooled, of a picture as it is.

    width: channels of the largest maps, doubled once as their side halves and once more in the end; a multiple of 4. blocks: residual blocks at each
    size. classes: that it can be told of, besides that a picture has none. level: of noise, in steps, that it is told of when features are read.
    """

    name = "unet"

    def __init__(self, input: InputSpec, *, width: int = 32, blocks: int = 1, classes: int = 0, level: int = 20):
        try:
            from diffusers import UNet2DModel
        except ImportError:
            raise UserError("diffusion needs diffusers, which is not installed", hint="pip install 'leaven[diffusion]'") from None
        if width < 4 or width % 4 or blocks < 1 or level < 0:
            raise UserError(f"width must be a multiple of 4, blocks 1 or more and level 0 or more, not {width}, {blocks} and {level}")
        channels, *sides = input.shape
        sizes = 1 + next(times for times in itertools.count() if max(sides) >> times <= MIDDLE or any(side >> times & 1 for side in sides))
        widths = [width, *[2 * width] * (sizes - 2), 4 * width][:sizes]
        super().__init__(input, widths[-1])
        self.classes, self.level = classes, level
        self.network: Any = UNet2DModel(
            in_channels=channels,
            out_channels=channels,
            block_out_channels=tuple(widths),
            layers_per_block=blocks,
            down_block_types=("DownBlock2D",) * sizes,
            up_block_types=("UpBlock2D",) * sizes,
            norm_num_groups=math.gcd(width, 8),
            num_class_embeds=classes + 1,
        )

    def noise(
        self, noisy: Float[Tensor, "batch channels height width"], level: Int64[Tensor, " batch"], label: Int64[Tensor, " batch"]
    ) -> Float[Tensor, "batch channels height width"]:
        """What of a noisy picture in -1 to 1 is noise. label: `classes` means none."""
        return self.network(noisy.contiguous(memory_format=torch.channels_last), level, label).sample

    def forward(self, x: Value | Tensor) -> Float[Tensor, "batch dim"]:
        network, pictures = self.network, 2 * self.unit(x) - 1
        hidden = network.conv_in(pictures.contiguous(memory_format=torch.channels_last))
        level, none = (torch.full((len(pictures),), number, device=pictures.device) for number in (self.level, self.classes))
        told = network.time_embedding(network.time_proj(level).to(pictures.dtype)) + network.class_embedding(none)
        for block in network.down_blocks:
            hidden, _ = block(hidden_states=hidden, temb=told)
        return network.mid_block(hidden, told).mean((2, 3))
