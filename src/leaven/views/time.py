"""Changes of what lies over time: other moments, another pace, masks, and filters by frequency."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def fast_length(samples: int) -> int:
    """The next length whose FFT is fast."""
    from scipy.fft import next_fast_len

    return int(next_fast_len(samples, real=True))


def factors(numbers: Tensor, share: float) -> Tensor:
    """From numbers in -1 .. 1: up to (1 + share) times as much for positive ones, as much less for negative ones. Rounded alike on every device."""
    larger = 1 + share * numbers.abs()
    return torch.where(numbers < 0, 1 / larger, larger)


def window_of(samples: Float[Tensor, "batch ... time"], start: Int64[Tensor, " batch"], time: int) -> Float[Tensor, "batch ... time"]:
    """So many samples from each one's own start, which may lie before its beginning; 0 beyond its ends."""
    places = start[:, None] + torch.arange(time, device=samples.device)
    return taken(samples, places)


def taken(samples: Float[Tensor, "batch ... time"], places: Int64[Tensor, "batch places"]) -> Float[Tensor, "batch ... places"]:
    """The samples at these places, the same in all channels; 0 where there are none."""
    length = samples.shape[-1]
    outside = (places < 0) | (places >= length)
    shape = (len(samples), *(1,) * (samples.ndim - 2), places.shape[1])
    index = places.clamp(0, length - 1).view(shape).expand(*samples.shape[:-1], -1)
    return samples.gather(-1, index).masked_fill(outside.view(shape), 0)


def paced(
    samples: Float[Tensor, "batch ... time"], start: Float[Tensor, " batch"], pace: Float[Tensor, " batch"], time: int
) -> Float[Tensor, "batch ... new_time"]:
    """The samples at start, start + pace, start + 2 pace, ...; 0 beyond the ends.

    What a pace above 1 would fold back is filtered out. The signal is first made twice as fine by FFT, and then interpolated by cubic polynomials
    through four samples: a tone of half the highest frequency is off by 1 % at most, one of 80 % of it by 5 %.
    """
    fine, share = upsampled(samples, (1 / pace).clamp(max=1)), 2.0
    places = share * (start[:, None] + pace[:, None] * torch.arange(time, device=samples.device))
    whole = places.floor()
    shape = (len(samples), *(1,) * (samples.ndim - 2), time)
    x = (places - whole).to(samples.dtype).view(shape)
    before, here, after, last = (taken(fine, whole.long() + step) for step in (-1, 0, 1, 2))
    weights = (-x * (x - 1) * (x - 2) / 6, (x + 1) * (x - 1) * (x - 2) / 2, -(x + 1) * x * (x - 2) / 2, (x + 1) * x * (x - 1) / 6)
    return sum(weight * part for weight, part in zip(weights, (before, here, after, last), strict=True))  # type: ignore[return-value]


def upsampled(samples: Float[Tensor, "batch ... time"], kept: Float[Tensor, " batch"]) -> Float[Tensor, "batch ... twice_time"]:
    """Twice as many samples for the same time, without what lies above a share of the frequencies."""
    time = samples.shape[-1]
    size = fast_length(time + 16)  # with room for what rings around the ends
    spectrum = torch.fft.rfft(samples, size)
    place = torch.arange(spectrum.shape[-1], device=samples.device) / (spectrum.shape[-1] - 1)
    shape = (len(samples), *(1,) * (samples.ndim - 2), -1)
    return torch.fft.irfft(2 * spectrum * (place <= kept[:, None]).view(shape), 2 * size)[..., : 2 * time]


def spans(
    begin: Float[Tensor, "batch masks"], width: Float[Tensor, "batch masks"], length: Float[Tensor, " batch"], time: int
) -> Bool[Tensor, "batch time"]:
    """True within the spans. width: as shares of each sample's length, 0-1; begin: as shares of the room that a span leaves."""
    place = torch.arange(time, device=begin.device) / length.clamp(min=1)[:, None]
    start = begin * (1 - width)
    return ((place[:, None] >= start[..., None]) & (place[:, None] < (start + width)[..., None])).any(1)
