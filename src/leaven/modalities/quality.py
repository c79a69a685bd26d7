"""What is wrong with sound and signals: silence, clipping, dead channels, mains hum. Looked at are some samples, a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from leaven.modalities.timeline import at_a_time, some_rows

SILENT = 0.001  # of full scale: -60 dB
CLIPPED, AT_EDGE = 0.001, 3  # share, and number, of the samples at the very edge of the range
MOSTLY = 0.5  # share of the samples in which a dead channel is constant
MAINS = (50.0, 60.0)  # Hz
NARROW, NEAR, FAR = 1.0, 2.0, 6.0  # Hz around them: what is hum, and from where to where its surroundings lie
STANDS_OUT, SHARE = 5.0, 0.02  # times its surroundings, and of all power above 0.5 Hz: from there, it is hum
RESOLVED = 0.5  # seconds that a sample must have for that
SOME, MANY = 0.01, 0.05  # shares of the samples from which a user should know


def extent(seconds: Tensor) -> dict[str, float]:
    return {name: round(float(value), 4) for name, value in (("min", seconds.min()), ("median", seconds.median()), ("max", seconds.max()))}


def spoken(seconds: dict[str, float]) -> str:
    """How long samples are, for people."""
    least, median, most = (f"{seconds[name]:.3g}" for name in ("min", "median", "max"))
    return f"{least} s" if least == most else f"{least} to {most} s, median {median} s,"


def qualities(samples: Any, mask_of: Callable[[Tensor], Tensor], rate: float, channels: Sequence[str], *, full_scale: float | None) -> dict[str, Any]:
    """looked_at: how many samples; silent (sound only), constant, clipped: how many of them; dead: the channels that are constant in most; hum: {hz,
    share} of the power, None where there is none.

    samples: (N, T) or (N, C, T); mask_of: gives (rows, T) of these rows; full_scale: the largest number that there can be (None: the largest there
    is).
    """
    rows = some_rows(samples, torch.arange(len(samples)))
    steps = rows.split(at_a_time(samples))
    edges = [torch.stack([part.amin(2).amin(0), part.amax(2).amax(0)]) for part in (channel_first(samples[some]) for some in steps)]
    low, high = torch.stack([part[0] for part in edges]).amin(0), torch.stack([part[1] for part in edges]).amax(0)
    if full_scale is not None:
        low, high = torch.full_like(low, -full_scale), torch.full_like(high, full_scale * (1 - 1e-4))
    silent = constant = clipped = 0
    flat, power = torch.zeros(len(channels)), torch.zeros(0)
    for some in steps:
        part, real = channel_first(samples[some]), mask_of(some)[:, None]
        lengths = real.sum(2).clamp(min=1)
        least, most = part.masked_fill(~real, torch.inf).amin(2), part.masked_fill(~real, -torch.inf).amax(2)
        same = most <= least
        flat += same.sum(0)
        constant += int(same.all(1).sum())
        if full_scale is not None:
            silent += int((torch.maximum(most, -least).amax(1) < SILENT * full_scale).sum())
        at_edge = (((part >= high[:, None]) | (part <= low[:, None])) & real & ~same[..., None]).sum(2)
        clipped += int(((at_edge >= AT_EDGE) & (at_edge > CLIPPED * lengths)).any(1).sum())
        power = spectrum(part, real, lengths) + (power if len(power) else 0)
    dead = [name for name, count in zip(channels, flat.tolist(), strict=True) if count > MOSTLY * len(rows)] if len(channels) > 1 else []
    found = {"looked_at": len(rows), "constant": constant, "clipped": clipped, "dead": dead, "hum": hum(power, rate, samples.shape[-1])}
    return found if full_scale is None else {**found, "silent": silent}


def channel_first(part: Tensor) -> Tensor:
    return part[:, None] if part.ndim == 2 else part


def spectrum(part: Tensor, real: Tensor, lengths: Tensor) -> Tensor:
    """(frequencies,) power, each channel of each sample counting alike."""
    centred = (part - (part * real).sum(2, keepdim=True) / lengths[..., None]) * real
    power = torch.fft.rfft(centred * torch.hann_window(part.shape[2], periodic=False)).abs().square()
    return (power / power.sum(2, keepdim=True).clamp(min=1e-30)).sum((0, 1))


def hum(power: Tensor, rate: float, time: int) -> dict[str, float] | None:
    frequencies = torch.fft.rfftfreq(time, 1 / rate)
    if time < RESOLVED * rate or not len(power):
        return None
    found = {}
    for mains in MAINS:
        distance = (frequencies - mains).abs()
        line, around = distance <= max(NARROW, 1.5 * rate / time), (distance >= max(NEAR, 3 * rate / time)) & (distance <= max(FAR, 9 * rate / time))
        if mains + FAR >= rate / 2 or not line.any() or not around.any():
            continue
        floor = power[around].mean()
        share = float((power[line] - floor).clamp(min=0).sum() / power[frequencies >= 0.5].sum().clamp(min=1e-30))
        if power[line].max() > STANDS_OUT * floor and share > SHARE:
            found[mains] = share
    if not found:
        return None
    mains = max(found, key=found.__getitem__)
    return {"hz": mains, "share": round(found[mains], 4)}


def quality_cautions(described: dict[str, Any], nouns: str) -> list[str]:
    """What of this a user should know, one line each."""
    total = described["looked_at"]

    def some(count: int) -> str:
        return f"{count:,} of {total:,} {nouns}" + (" that were looked at" if total < described.get("count", total) else "")

    lines = []
    if described.get("silent", 0) > SOME * total:
        lines.append(f"{some(described['silent'])} are silent (below -60 dB)")
    elif described["constant"] > SOME * total:
        lines.append(f"{some(described['constant'])} are constant")
    if described["clipped"] > MANY * total:
        lines.append(f"{some(described['clipped'])} are clipped: their loudest parts are cut off")
    if dead := described["dead"]:
        lines.append(f"channels that are constant in most {nouns}: {', '.join(dead[:6])}; --set channels=A,B reads the others")
    if hum := described["hum"]:
        lines.append(f"mains hum: {100 * hum['share']:.0f} % of the power lies at {hum['hz']:g} Hz")
    return lines
