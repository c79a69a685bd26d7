"""Log-mel spectrograms as librosa computes them, in torch: of a whole batch, on its device, with a gradient."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

WINDOW, HOP = 0.025, 0.010  # seconds, as most of speech recognition has them
QUIETEST = 1e-10  # power, as librosa's `power_to_db` has it
LINEAR = 200 / 3  # Hz per mel below 1 kHz (Slaney 1998); above it a mel is a constant ratio of frequencies
LOGARITHMIC, STEP = 1000.0, math.log(6.4) / 27


def hertz_to_mel(frequency: Float[Tensor, ...]) -> Float[Tensor, ...]:
    """Slaney's mel scale, which is librosa's: linear up to 1 kHz, logarithmic above."""
    above = LOGARITHMIC / LINEAR + torch.log(frequency.clamp(min=LOGARITHMIC) / LOGARITHMIC) / STEP
    return torch.where(frequency < LOGARITHMIC, frequency / LINEAR, above)


def mel_to_hertz(mel: Float[Tensor, ...]) -> Float[Tensor, ...]:
    """The inverse of `hertz_to_mel`."""
    start = LOGARITHMIC / LINEAR
    return torch.where(mel < start, mel * LINEAR, LOGARITHMIC * torch.exp(STEP * (mel - start).clamp(min=0)))


@lru_cache(maxsize=16)
def mel_filters(rate: float, size: int, bands: int, lowest: float = 0.0, highest: float | None = None) -> Float[Tensor, "bands frequencies"]:
    """Triangles of equal area, equally spaced in mel: what each of the size // 2 + 1 frequencies of an FFT adds to each band.

    rate: Hz; size: samples of the FFT; lowest, highest: Hz (None: half the rate). As `librosa.filters.mel` with its defaults.
    """
    frequencies = torch.linspace(0, rate / 2, size // 2 + 1, dtype=torch.float64)
    edges = hertz_to_mel(torch.tensor([lowest, highest or rate / 2], dtype=torch.float64))
    corners = mel_to_hertz(torch.linspace(float(edges[0]), float(edges[1]), bands + 2, dtype=torch.float64))
    width = corners.diff()
    slopes = corners[:, None] - frequencies
    triangles = torch.minimum(-slopes[:-2] / width[:-1, None], slopes[2:] / width[1:, None]).clamp(min=0)
    return (triangles * (2 / (corners[2:] - corners[:-2]))[:, None]).float()


def sizes(rate: float, window: float = WINDOW, hop: float = HOP) -> tuple[int, int, int]:
    """(samples of the FFT: a power of two that holds the window, samples of the window, samples between frames)."""
    samples = max(2, round(rate * window))
    return 2 ** math.ceil(math.log2(samples)), samples, max(1, round(rate * hop))


def frame_counts(lengths: Tensor, hop: int) -> Tensor:
    """How many frames belong to so many samples: they are centred on every `hop`-th of them."""
    return lengths // hop + 1


def mel_spectrogram(
    samples: Float[Tensor, "batch time"],
    rate: float,
    *,
    size: int,
    window: int,
    hop: int,
    bands: int,
    lowest: float = 0.0,
    highest: float | None = None,
) -> Float[Tensor, "batch bands frames"]:
    """Power in each mel band; frames are centred on every `hop`-th sample, with zeros beyond the ends.

    size: samples of the FFT; window: samples of the Hann window in its middle. As `librosa.feature.melspectrogram` with these `n_fft`, `win_length`
    and `hop_length`.
    """
    power = power_spectrogram(samples, size=size, window=window, hop=hop)
    return mel_filters(rate, size, bands, lowest, highest).to(power) @ power


def power_spectrogram(samples: Float[Tensor, "batch time"], *, size: int, window: int, hop: int) -> Float[Tensor, "batch frequencies frames"]:
    """Power at size // 2 + 1 frequencies; frames are centred on every `hop`-th sample, with zeros beyond the ends."""
    hann = torch.hann_window(window, device=samples.device, dtype=samples.dtype)
    spectrum = torch.stft(samples, size, hop, window, hann, center=True, pad_mode="constant", return_complex=True)
    return torch.view_as_real(spectrum).square().sum(-1)


def log_mel(
    samples: Float[Tensor, "batch time"],
    rate: float,
    *,
    bands: int = 40,
    window: float = WINDOW,
    hop: float = HOP,
    lowest: float = 0.0,
    highest: float | None = None,
) -> Float[Tensor, "batch bands frames"]:
    """The natural logarithm of the power in each mel band, at least that of 1e-10. rate: Hz; window, hop: seconds."""
    size, width, step = sizes(rate, window, hop)
    power = mel_spectrogram(samples, rate, size=size, window=width, hop=step, bands=bands, lowest=lowest, highest=highest)
    return power.clamp(min=QUIETEST).log()
