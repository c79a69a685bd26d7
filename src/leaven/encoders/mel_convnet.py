"""A small convnet over log-mel frames: a tenth of the work of convolutions over the waveform."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from leaven.encoders.convnet import PerPosition, Residual
from leaven.encoders.encoder import names_within
from leaven.encoders.log_mel import LogMel
from leaven.encoders.over_time import TimeReader
from leaven.hyperparameters import Width
from leaven.modalities import InputSpec, Value
from leaven.modules.frames import pooled

STRIDE = 8


class MelConvNet(TimeReader):
    """Log-mel frames 10 ms apart through a stem that halves bands and frames, two more halvings with residual blocks, and a layer over all bands of a
    moment. Features are the mean and the largest value over the moments of a sound.

    Whatever follows the end of a sound has no part in its features.

    bands: of the mel scale, a multiple of 8. width: channels of the stem; the halvings give twice and four times as many. features: length of the
    feature vector, even.
    """

    name = "mel_convnet"
    modalities = ("wave",)

    def __init__(self, input: InputSpec, *, bands: Width = 40, width: Width = 32, features: Width = 512):
        super().__init__(input, 2 * (features // 2))
        self.front = LogMel(self.rate, bands)
        self.stem = nn.Conv2d(1, width, 5, 2, 2, bias=False)
        self.stem_norm = nn.BatchNorm2d(width)
        self.blocks = nn.ModuleList(
            [
                PerPosition(width, 2 * width, merge=True),
                Residual(2 * width, depth=1),
                PerPosition(2 * width, 4 * width, merge=True),
                Residual(4 * width, depth=2),
            ]
        )
        self.head = nn.Linear(4 * width * -(-bands // STRIDE), self.dim // 2, bias=False)
        self.head_norm = nn.BatchNorm1d(self.dim // 2)

    def moments(self, x: Value | Tensor) -> tuple[Float[Tensor, "batch moments half"], Tensor]:
        """Every 80 ms, and which of them lie within a sound."""
        frames, real = self.front(*self.in_wave(x))
        real = F.pad(real, (0, -real.shape[1] % STRIDE))
        maps = F.pad(frames, (0, -frames.shape[2] % STRIDE, 0, -frames.shape[1] % STRIDE))[:, None]
        kind = maps.device.type
        maps = maps.to(torch.get_autocast_dtype(kind) if kind != "meta" and torch.is_autocast_enabled(kind) else maps.dtype)
        maps, real = self.halved(F.relu_(self.stem_norm(self.stem(maps))), real)
        for merge, residual in zip(self.blocks[::2], self.blocks[1::2], strict=True):
            maps, real = self.halved(merge(maps), real)
            within = real[:, None, None].to(maps.dtype)
            maps = residual(maps, within) * within
        columns = maps.permute(0, 3, 2, 1).flatten(2)
        return F.relu_(self.head_norm(self.head(columns).flatten(0, 1))).unflatten(0, columns.shape[:2]), real

    @staticmethod
    def halved(maps: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """A map of half as many moments, 0 beyond the end of each sound; a moment is real if one of its two was."""
        real = real[:, ::2]
        return maps * real[:, None, None].to(maps.dtype), real

    def forward(self, x: Value | Tensor) -> Float[Tensor, "batch dim"]:
        moments, real = self.moments(x)
        largest = moments.masked_fill(~real[..., None], 0).amax(1)  # they are not negative
        return torch.cat([pooled(moments, real), largest], 1)

    def depths(self) -> list[list[str]]:
        return [
            names_within(self, *parts) for parts in ((self.stem, self.stem_norm), *((block,) for block in self.blocks), (self.head, self.head_norm))
        ]
