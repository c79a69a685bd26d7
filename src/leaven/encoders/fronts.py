"""From sound or signals to one vector for each moment, which sees little more than that moment."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from leaven.encoders.log_mel import LogMel
from leaven.errors import UserError
from leaven.modalities.timeline import beginnings
from leaven.modules.frames import StridedConv


class MelFront(nn.Module):
    """Frames of the log-mel spectrogram as they are. bands: of the mel scale. hop: seconds between frames."""

    def __init__(self, rate: float, bands: int, hop: float):
        super().__init__()
        self.log_mel, self.size, self.values = LogMel(rate, bands, hop), bands, bands

    def forward(self, samples: Tensor, lengths: Tensor) -> tuple[Float[Tensor, "batch frames size"], Bool[Tensor, "batch frames"]]:
        frames, real = self.log_mel(samples, lengths)
        return frames.transpose(1, 2), real

    def raw(self, samples: Tensor, lengths: Tensor) -> Float[Tensor, "batch frames values"]:
        """What each frame is made from."""
        return self(samples, lengths)[0]

    def real(self, lengths: Int64[Tensor, " batch"], time: int) -> Bool[Tensor, "batch frames"]:
        return self.log_mel.real(lengths, self.frames(time))

    def frames(self, time: int) -> int:
        return self.log_mel.frames(time)


class WaveFront(nn.Module):
    """Strided convolutions over the waveform, each with layer norm and GELU, without padding (Baevski et al. 2020, section 2).

    Sounds are first brought to mean 0 and variance 1. Layer norm of each moment, and not of a sound's channels over time, so that no frame depends on
    what follows it. channels: of every layer. kernels, strides: of the layers, in the moments of the layer before.
    """

    def __init__(self, channels: int, kernels: Sequence[int], strides: Sequence[int]):
        super().__init__()
        if len(kernels) != len(strides) or any(not stride <= kernel <= 2 * stride for kernel, stride in zip(kernels, strides, strict=False)):
            raise UserError(f"each kernel must span one to two strides, not {kernels} with {strides}", where="encoder.kernels")
        self.size, self.hop = channels, torch.Size(strides).numel()
        self.values = self.hop
        inputs = [1, *[channels] * (len(kernels) - 1)]
        self.convs = nn.ModuleList(StridedConv(before, channels, *each) for before, *each in zip(inputs, kernels, strides, strict=True))
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in kernels)
        self.reach = 1
        for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
            self.reach = (self.reach - 1) * stride + kernel

    def forward(self, samples: Tensor, lengths: Tensor) -> tuple[Float[Tensor, "batch frames size"], Bool[Tensor, "batch frames"]]:
        x = self.standardized(samples, lengths)[..., None]
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.gelu(norm(conv(x)))
        real = self.real(lengths, samples.shape[1])
        return x * real[..., None].to(x.dtype), real

    def standardized(self, samples: Tensor, lengths: Tensor) -> Float[Tensor, "batch time"]:
        """Mean 0 and variance 1 over each sound, 0 beyond it; filled up to one frame."""
        real = beginnings(lengths, samples.shape[1])
        count = lengths.clamp(min=1)[:, None]
        centred = (samples - samples.sum(1, keepdim=True) / count) * real
        scaled = centred / (centred.square().sum(1, keepdim=True) / count + 1e-7).sqrt()
        return F.pad(scaled, (0, max(0, self.reach - samples.shape[1])))

    def raw(self, samples: Tensor, lengths: Tensor) -> Float[Tensor, "batch frames values"]:
        """The samples from the beginning of each frame to that of the next."""
        x = self.standardized(samples, lengths)
        frames = self.frames(samples.shape[1])
        return F.pad(x, (0, max(0, frames * self.hop - x.shape[1])))[:, : frames * self.hop].unflatten(1, (frames, self.hop))

    def real(self, lengths: Int64[Tensor, " batch"], time: int) -> Bool[Tensor, "batch frames"]:
        """Frames that see nothing beyond the end of their sound, and the first."""
        return beginnings(((lengths - self.reach) // self.hop + 1).clamp(min=1), self.frames(time))

    def frames(self, time: int) -> int:
        return max(0, time - self.reach) // self.hop + 1


class StepFront(nn.Module):
    """Pieces of a signal side by side, all channels together, through a linear layer with layer norm.

    channels: of the signal. step: samples of a piece. size: of a vector.
    """

    def __init__(self, channels: int, step: int, size: int):
        super().__init__()
        self.step, self.size, self.values = step, size, channels * step
        self.embed, self.norm = nn.Linear(self.values, size), nn.LayerNorm(size)

    def forward(self, samples: Tensor, mask: Tensor) -> tuple[Float[Tensor, "batch frames size"], Bool[Tensor, "batch frames"]]:
        real = self.real(mask, samples.shape[2])
        x = self.norm(self.embed(self.raw(samples, mask)))
        return x * real[..., None].to(x.dtype), real

    def raw(self, samples: Tensor, mask: Tensor) -> Float[Tensor, "batch frames values"]:
        """The samples of each piece, channel by channel."""
        pieces = F.pad(samples, (0, -samples.shape[2] % self.step)).unflatten(2, (-1, self.step))
        return pieces.transpose(1, 2).flatten(2)

    def real(self, mask: Bool[Tensor, "batch time"], time: int) -> Bool[Tensor, "batch frames"]:
        """Pieces that lie at least half within their signal, and the first."""
        return beginnings(((mask.sum(1) + self.step // 2) // self.step).clamp(min=1), self.frames(time))

    def frames(self, time: int) -> int:
        return -(-time // self.step)
