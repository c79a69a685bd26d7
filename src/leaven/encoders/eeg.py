"""Small encoders of signals of several channels, such as EEG."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from leaven.encoders.encoder import names_within
from leaven.encoders.over_time import TimeReader
from leaven.hyperparameters import Count, Depth, Positive, Width
from leaven.modalities import InputSpec, Value
from leaven.modalities.signal import LEAST_POWER, inside_rhythms
from leaven.modalities.timeline import beginnings
from leaven.modules.heads import mlp

WELCH = 2.0  # seconds of a window, so that 1 Hz is two frequencies of it
COARSE, FINE = 32.0, 0.5  # Hz after the first pooling, and seconds that the separable convolution sees (Lawhern et al. 2018: 16 samples at 32 Hz)


class EEGNet(TimeReader):
    """Filters in time, each over a few weighted sums of the channels, then a separable convolution at 32 Hz (Lawhern et al. 2018), and means over as
    many pieces of the signal as are asked for, which keep when something happened.

    Sums over channels come first: filters in time that all channels share commute with them, and so cost little however many channels there are.

    filters: in time. sums: over channels, for each filter; no more than there are channels. width: outputs of the separable convolution. kernel: of
    the filters in time, in seconds. pieces: of a signal that features are means over.
    """

    name = "eegnet"
    modalities = ("signal",)

    def __init__(self, input: InputSpec, *, filters: Width = 16, sums: Depth = 2, width: Width = 64, kernel: Positive = 0.5, pieces: Count = 8):
        super().__init__(input, width * pieces)
        self.pieces, self.sums, channels = pieces, min(sums, input.shape[0]), input.shape[0]
        maps = filters * self.sums
        self.pool = max(1, round(self.rate / COARSE))
        self.space = nn.Conv1d(channels, maps, 1, bias=False)
        self.time = nn.Parameter(torch.empty(filters, odd(kernel * self.rate)))
        nn.init.kaiming_uniform_(self.time, a=5**0.5)
        self.norm = nn.BatchNorm1d(maps)
        length = odd(FINE * self.rate / self.pool)
        self.separable = nn.Sequential(
            nn.Conv1d(maps, maps, length, padding=length // 2, groups=maps, bias=False), nn.Conv1d(maps, width, 1, bias=False)
        )
        self.last_norm = nn.BatchNorm1d(width)

    def forward(self, x: Value | Tensor) -> Float[Tensor, "batch dim"]:
        samples, real = self.in_signal(x)
        maps = F.elu(self.norm(filtered(self.space(samples), self.time.repeat_interleave(self.sums, 0))))
        maps = F.avg_pool1d(maps * real[:, None], self.pool, ceil_mode=True, count_include_pad=False)
        real = F.pad(real, (0, -real.shape[1] % self.pool))[:, :: self.pool]
        maps = F.elu(self.last_norm(self.separable(maps * real[:, None])))
        return pieces(maps, real, self.pieces).flatten(1)

    def depths(self) -> list[list[str]]:
        first = ["time", *names_within(self, self.space, self.norm)]
        return [first, names_within(self, self.separable, self.last_norm)]


class BandPower(TimeReader):
    """The logarithm of the power of each channel in each rhythm (delta, theta, alpha, beta, gamma), a mean over windows of 2 s that overlap by half,
    through linear layers with batch norm and ReLU.

    width: of a layer and of the feature vector. depth: number of layers.
    """

    name = "band_power"
    modalities = ("signal",)
    inside: Tensor

    def __init__(self, input: InputSpec, *, width: Width = 256, depth: Depth = 2):
        super().__init__(input, width)
        self.window = max(2, min(input.shape[1], round(WELCH * self.rate)))
        with torch.device("cpu"):  # which holds numbers
            inside = inside_rhythms(self.window, self.rate)
        self.register_buffer("inside", inside, persistent=False)
        self.layers = mlp(input.shape[0] * self.inside.shape[1], *([width] * depth), last_norm=True)

    def power(self, x: Value | Tensor) -> Float[Tensor, "batch channels bands"]:
        """In logarithms, always in full precision."""
        samples, real = self.in_signal(x)
        hop = max(1, self.window // 2)
        samples = F.pad(samples, (0, max(0, self.window - samples.shape[2])))
        with torch.autocast(samples.device.type, enabled=False):
            windows = samples.unfold(2, self.window, hop)
            hann = torch.hann_window(self.window, device=samples.device, dtype=samples.dtype)
            spectrum = torch.fft.rfft((windows - windows.mean(3, keepdim=True)) * hann)
            power = (torch.view_as_real(spectrum).square().sum(-1) @ self.inside) / (self.inside.sum(0).clamp(min=1) * self.window)
            whole = beginnings(((real.sum(1) - self.window) // hop + 1).clamp(min=1), windows.shape[2])
            share = whole.to(power.dtype) / whole.sum(1, keepdim=True)
            return ((power * share[:, None, :, None]).sum(2) + LEAST_POWER).log()

    def forward(self, x: Value | Tensor) -> Float[Tensor, "batch dim"]:
        return self.layers(self.power(x).flatten(1))

    def depths(self) -> list[list[str]]:
        return [names_within(self, *self.layers[start : start + 3]) for start in range(0, len(self.layers), 3)]


def filtered(signals: Float[Tensor, "batch channels time"], kernels: Float[Tensor, "channels taps"]) -> Float[Tensor, "batch channels time"]:
    """Each channel convolved with its own kernel of odd length, zeros beyond the ends.

    By FFT, since oneDNN is slow at long kernels of single channels: the whole encoder takes five times as long with them.
    """
    if torch.compiler.is_exporting():  # where graphs hold a convolution
        return F.conv1d(signals, kernels[:, None], padding=kernels.shape[1] // 2, groups=len(kernels))
    from scipy.fft import next_fast_len

    time, taps = signals.shape[2], kernels.shape[1]
    with torch.autocast(signals.device.type, enabled=False):
        signals, kernels = (part if part.dtype == torch.float64 else part.float() for part in (signals, kernels))
        size = next_fast_len(time + taps - 1, real=True)
        spectrum = torch.fft.rfft(signals, size) * torch.fft.rfft(kernels.flip(1), size)
        return torch.fft.irfft(spectrum, size)[..., taps // 2 : taps // 2 + time]


def odd(samples: float) -> int:
    """The odd whole number next to this one."""
    return 2 * round((samples - 1) / 2) + 1 if samples > 1 else 1


def pieces(maps: Float[Tensor, "batch width time"], real: Bool[Tensor, "batch time"], count: int) -> Float[Tensor, "batch width pieces"]:
    """The real part of each sample, which comes first, is cut into `count` equal pieces as adaptive pooling cuts them: the mean of each piece."""
    time, lengths = torch.arange(maps.shape[2], device=maps.device), real.sum(1).clamp(min=1)[:, None]
    piece = torch.arange(count, device=maps.device)
    start, end = piece * lengths // count, -(-(piece + 1) * lengths // count)
    inside = ((time[:, None] >= start[:, None]) & (time[:, None] < end[:, None])).to(maps.dtype)
    return torch.bmm(maps, inside / inside.sum(1, keepdim=True))
