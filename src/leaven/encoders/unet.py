"""The network of diffusion models, read in its middle."""

import itertools
import math
from typing import Any, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from leaven.encoders.encoder import Encoder
from leaven.errors import UserError
from leaven.hyperparameters import Depth, Whole, Width
from leaven.modalities import InputSpec, Value

MIDDLE, LARGEST = 8, 16  # side of the middle maps, where every position attends to all others: the aim, and the limit


class UNet(Encoder):
    """Predicts the noise in a picture (Ho et al. 2020, appendix B; diffusers' UNet2DModel). Features are its pooled middle maps of a clean picture.

    width: channels of the largest maps, doubled once as their side halves and once more in the end; a multiple of 4. blocks: residual blocks at each
    size. classes: how many classes condition it, besides "no class". vector: numbers of a vector that conditions it in place of a class (0: a class
    does). level: noise level, in steps, at which features are read.
    """

    name = "unet"
    memory_format = torch.contiguous_format  # channels-last, group norm takes 2 (fp32) to 20 (bf16) times as long on a CPU

    def __init__(self, input: InputSpec, *, width: Width = 32, blocks: Depth = 1, classes: int = 0, vector: Whole = 0, level: int = 20):
        try:
            from diffusers import UNet2DModel
            from diffusers.models.attention_processor import Attention, AttnProcessor
        except ImportError:
            raise UserError("diffusion needs diffusers, which is not installed", hint="pip install 'leaven[diffusion]'") from None
        if width < 4 or width % 4 or blocks < 1 or level < 0:
            raise UserError(f"width must be a multiple of 4, blocks 1 or more and level 0 or more, not {width}, {blocks} and {level}")
        channels, *sides = input.shape
        halved = next(times for times in itertools.count() if max(sides) >> times <= MIDDLE or any(side >> times & 1 for side in sides))
        if max(sides) >> halved > LARGEST:
            what = f"pictures of {sides[0]} x {sides[1]} cannot be halved down to a side of {LARGEST} or less"
            raise UserError(what, hint="choose --size 28, 32 or 64")
        widths = [width, *[2 * width] * (halved - 1), 4 * width][: halved + 1]
        super().__init__(input, widths[-1])
        self.classes, self.vector, self.level = classes, vector, level
        network = UNet2DModel(
            in_channels=channels,
            out_channels=channels,
            block_out_channels=tuple(widths),
            layers_per_block=blocks,
            down_block_types=("DownBlock2D",) * len(widths),
            up_block_types=("UpBlock2D",) * len(widths),
            norm_num_groups=math.gcd(width // 4, 8),  # at least four channels per group: with one, normalisation would remove level and class
            attention_head_dim=min(widths[-1], 8),
            num_class_embeds=None if vector else classes + 1,
            class_embed_type="identity" if vector else None,
        )
        self.network = cast(Any, network)
        if vector:
            self.network.class_embedding = nn.Linear(vector, self.network.time_embedding.linear_2.out_features)
        for module in self.modules():
            if isinstance(module, Attention):
                module.set_processor(AttnProcessor())  # small matrices, for which fused attention takes a tenth of a step on a CPU

    def no_condition(self, count: int) -> Tensor:
        """What stands for no class, or no vector, of so many pictures."""
        return self.scale.new_zeros(count, self.vector) if self.vector else torch.full((count,), self.classes, device=self.scale.device)

    def noise(
        self, noisy: Float[Tensor, "batch channels height width"], level: Int64[Tensor, " batch"], condition: Tensor
    ) -> Float[Tensor, "batch channels height width"]:
        """The noise in a noisy picture in -1 to 1, or what else of it was learned (see `Noising`).

        condition: (batch,) int64 classes, or (batch, numbers) vectors.
        """
        return self.network(noisy.contiguous(), level, condition).sample

    def forward(self, x: Value | Tensor) -> Float[Tensor, "batch dim"]:
        network, pictures = self.network, 2 * self.unit(x) - 1
        hidden = network.conv_in(pictures.contiguous())
        level, none = torch.full((len(pictures),), self.level, device=pictures.device), self.no_condition(len(pictures))
        condition = network.time_embedding(network.time_proj(level).to(pictures.dtype)) + network.class_embedding(none)
        for block in network.down_blocks:
            hidden, _ = block(hidden_states=hidden, temb=condition)
        return network.mid_block(hidden, condition).mean((2, 3))
