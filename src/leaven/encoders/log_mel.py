"""Sound as the frames of its log-mel spectrogram."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from leaven.modalities.mel import HOP, QUIETEST, WINDOW, frame_counts, mel_filters, power_spectrogram, sizes
from leaven.modalities.timeline import beginnings

RANGE = 14.0  # nats below a sound's loudest frame and band (61 dB), under which everything counts as silence
AT_ONCE = 2**21  # samples, whose spectrograms are in memory together
UNIT = 3.0  # nats, about the deviation of the log-mel frames of speech


class LogMel(nn.Module):
    """Sound as frames of log-mel energies, of mean 0 over the frames and bands of each sound, in units of 3 nats.

    So neither the loudness of a recording nor the level of its silence counts. Frames are centred on every `hop`-th sample; beyond the end of a sound
    they are 0. Always in full precision.

    rate: Hz. bands: of the mel scale, up to half the rate. hop: seconds between frames.
    """

    filters: Tensor

    def __init__(self, rate: float, bands: int, hop: float = HOP):
        super().__init__()
        self.size, self.window, self.hop = sizes(rate, max(WINDOW, hop), hop)
        self.bands = bands
        with torch.device("cpu"):  # they are kept for the next one, and must hold numbers
            filters = mel_filters(rate, self.size, bands)
        self.register_buffer("filters", filters, persistent=False)

    def forward(
        self, samples: Float[Tensor, "batch time"], lengths: Int64[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch bands frames"], Bool[Tensor, "batch frames"]]:
        """Frames, and which of them lie within the sound."""
        with torch.autocast(samples.device.type, enabled=False):
            at_once = max(1, AT_ONCE // max(1, samples.shape[1]))  # a spectrogram takes twelve times the memory of its bands
            energy = torch.cat([self.energy(part) for part in samples.to(self.filters.dtype).split(at_once)])
            real = self.real(lengths, energy.shape[2])
            outside = ~real[:, None]
            energy = torch.maximum(energy, energy.masked_fill(outside, -torch.inf).amax((1, 2), keepdim=True) - RANGE)
            count = real.sum(1).view(-1, 1, 1) * self.bands
            mean = energy.masked_fill(outside, 0).sum((1, 2), keepdim=True) / count
            return ((energy - mean) / UNIT).masked_fill(outside, 0), real

    def energy(self, samples: Float[Tensor, "batch time"]) -> Float[Tensor, "batch bands frames"]:
        power = self.filters @ power_spectrogram(samples, size=self.size, window=self.window, hop=self.hop)
        return power.clamp(min=QUIETEST).log()

    def real(self, lengths: Int64[Tensor, " batch"], frames: int) -> Bool[Tensor, "batch frames"]:
        return beginnings(frame_counts(lengths, self.hop), frames)

    def frames(self, time: int) -> int:
        """How many frames so many samples have."""
        return time // self.hop + 1
