"""Signals of several channels, such as EEG."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from leaven.errors import UserError
from leaven.modalities.floor import FloorName
from leaven.modalities.modality import TOKENS, DefaultEncoder, Floor, Topography
from leaven.modalities.over_time import OverTime
from leaven.modalities.quality import extent, qualities, spoken
from leaven.modalities.resampling import resampled_length, resampled_tensor
from leaven.modalities.scalp import placed
from leaven.modalities.spec import InputSpec
from leaven.modalities.timeline import at_a_time, beginnings, masked_moments, middle
from leaven.modalities.value import Value

RHYTHMS = {"delta": (1.0, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 13.0), "beta": (13.0, 30.0), "gamma": (30.0, 45.0)}  # Hz
SHORT = 2.0  # seconds; in shorter signals the course over time says more than the rhythms
STEPS = 16  # pieces whose means describe the course
OUTLIER = 5.0  # deviations
FEWEST_PLACED, DECIBELS = 4, 10 / math.log(10)  # electrodes that a map needs; of a natural logarithm of power
LEAST_POWER = 1e-12  # of the variance
WHOLE = {
    "kind": "signals", "count": 1, "shift": 0, "stretch": 0, "scale": 0, "noise": 0, "drop": 0, "time_masks": 0, "band_mask": 0,
}  # fmt: skip
"""Views that take nothing away."""
PICTURE, TRACES = 96, 8  # sides of a picture; more channels than these are shown as rows of grey
BAND_POWER = FloorName("band-power", "band power, random forest", "a random forest on band power")
SHAPE = 'signals are (N, C, T), with their rate: {"x": samples, "rate": 250}, or Signal(samples, mask, rate)'


@dataclass(frozen=True, eq=False)
class Signal(Value):
    """Signals of several channels: samples (B, C, T) float32 in their own units, zeros where there is none; mask (B, T) bool, true where there is
    signal; rate in Hz.

    reading: how it was read from files (see `RecordingReading`), as plain JSON values, with the names of its "channels" where they are known.
    origin: as that of `Wave`.
    """

    modality = "signal"
    samples: Tensor  # or a LazyTensor, until samples are selected
    mask: Tensor  # or a LazyTensor as well
    rate: float
    reading: dict[str, Any] = field(default_factory=dict)
    origin: Tensor | None = None


class SignalModality(OverTime):
    """Channels over time."""

    name, noun, plural, values = "signal", "signal", "signals", (Signal,)
    axes = 2
    encoders = (
        DefaultEncoder("causal_frames", "the method predicts later moments from those before", "causal_frames"),
        DefaultEncoder("frames", "the method relates moments", "frames"),
        DefaultEncoder("frames", "the method needs tokens, and these are moments of all channels", TOKENS),
        DefaultEncoder("eegnet", "few weights, and filters in time and over channels, as is usual for EEG"),
    )
    method = ("simclr", "it learns from any kind of data")
    views = {
        "contrast": {"kind": "signals"},
        "reconstruction": {**WHOLE, "shift": 0.1, "scale": 0.3},
        "labels": {**WHOLE, "shift": 0.02, "scale": 0.3, "noise": 0.3},
        "plain": WHOLE,
    }
    likelihoods = ("gaussian",)
    continuous = visible = True
    export_name, export_format = "samples", "float32, (batch, channels, time), in the units and at the rate of the training data"

    def spec(self, value: Any, train: Tensor) -> InputSpec:
        """Mean and deviation of each channel."""
        mean, std = masked_moments(value.samples, lambda rows: value.mask[rows], train)
        return InputSpec(self.name, tuple(value.samples.shape[1:]), mean, std, rate=value.rate, reading=value.reading)

    def sample_bytes(self, value: Any) -> Iterable[tuple[bytes, ...]]:
        """The signal alone: how far it is padded says nothing."""
        for start in range(0, len(value), step := at_a_time(value.samples)):
            part = value[slice(start, start + step)]
            for samples, mask in zip(part.samples.numpy(), part.mask.numpy(), strict=True):
                yield (samples[:, mask].tobytes(),)

    def checked(self, value: Any, where: str) -> Value:
        samples, mask = value.samples, value.mask
        if value.lazy:
            return value
        if samples.ndim != 3 or 0 in samples.shape or mask.shape != (samples.shape[0], samples.shape[2]):
            raise UserError(f"an array of shape {tuple(samples.shape)} with a mask of {tuple(mask.shape)} is no signal", where=where, hint=SHAPE)
        if not value.rate > 0:
            raise UserError(f"signals cannot have a rate of {value.rate:g} Hz", where=where, hint=SHAPE)
        return replace(value, samples=samples.float().masked_fill(~mask.bool()[:, None], 0), mask=mask.bool(), rate=float(value.rate))

    def empty(self, value: Any) -> tuple[Tensor, str] | None:
        if value.lazy:  # its reader has looked
            return None
        return ~value.mask.any(1) | ~value.samples.isfinite().all(2).all(1), "no samples, or some that are not finite"

    def summary(self, value: Any) -> dict[str, Any]:
        """rate, seconds {min, median, max}, the names of the channels, and `qualities`."""
        names = value.reading.get("channels") or [f"channel {number}" for number in range(1, value.samples.shape[1] + 1)]
        lengths = torch.cat([value.mask[rows].sum(1) for rows in torch.arange(len(value)).split(at_a_time(value.samples))])
        found = qualities(value.samples, lambda rows: value.mask[rows], value.rate, names, full_scale=None)
        if value.reading.get("frames"):
            found["clipped"] = 0  # black and white are no clipping
        return {"rate": value.rate, "seconds": extent(lengths / value.rate), "names": list(names), "count": len(value), **found}

    def title(self, count: int, described: dict[str, Any]) -> str:
        channels = described["shape"][0]
        signals = f"{count:,} {self.noun if count == 1 else self.plural} of {channels} channel{'s' * (channels > 1)}"
        return f"{signals}, {spoken(described['seconds'])} at {described['rate']:g} Hz"

    def difference(self, spec: InputSpec, wanted: InputSpec) -> str:
        """Signals of any length and rate are read, and of the same channels."""
        if spec.shape[0] != wanted.shape[0]:
            return f"this encoder reads signals of {wanted.shape[0]} channels, and the data has {spec.shape[0]}"
        ours, theirs = spec.reading.get("channels"), wanted.reading.get("channels")
        if ours and theirs and list(ours) != list(theirs):
            return f"this encoder reads the channels {', '.join(theirs)}, and the data has {', '.join(ours)}"
        return ""

    def fitted(self, value: Any, shape: tuple[int, ...], rate: float | None = None) -> Value:
        """Resampled; the middle of longer signals; zeros after shorter ones."""
        if rate and rate != value.rate:
            samples = resampled_tensor(value.samples, value.rate, rate)
            lengths = [min(samples.shape[2], resampled_length(length, value.rate, rate)) for length in value.mask.sum(1).tolist()]
            mask = beginnings(torch.tensor(lengths, device=samples.device), samples.shape[2])
            value = replace(value, samples=samples.masked_fill(~mask[:, None], 0), mask=mask, rate=rate)
        time = shape[-1]
        if value.samples.shape[2] == time:
            return value
        lengths = value.mask.sum(1)
        return replace(value, samples=middle(value.samples, lengths, time), mask=middle(value.mask, lengths, time))

    def statistics(self, spec: InputSpec) -> tuple[Tensor, Tensor]:
        mean, std = super().statistics(spec)
        return mean[..., None], std[..., None]

    def of_numbers(self, numbers: Tensor, spec: InputSpec, *, whole: bool = False) -> Value:
        return Signal(numbers, numbers.new_ones(len(numbers), numbers.shape[2], dtype=torch.bool), spec.rate or 0.0, spec.reading)

    def raw_features(self, value: Any, train: Tensor) -> Callable[[Value], Float[Tensor, "samples dim"]]:
        """The logarithm of the power of each channel in each rhythm; of windows below 2 s the course of each channel, in 16 places."""
        mean, std = self.statistics(self.spec(value, train))
        short = value.samples.shape[2] / value.rate < SHORT

        def features(some: Any) -> Tensor:
            parts = []
            for start in range(0, len(some), step := at_a_time(some.samples)):
                part = some[slice(start, start + step)]
                scaled = ((part.samples - mean) / std).masked_fill(~part.mask[:, None], 0)
                parts.append((course(scaled) if short else rhythms(scaled, part.mask, part.rate)).flatten(1))
            return torch.cat(parts)

        return features

    def band_powers(self, value: Any, train: Tensor) -> Callable[[Value], Float[Tensor, "samples dim"]]:
        """The logarithm of the power of each channel in each rhythm, of windows of any length: up to a constant the differential entropy."""
        mean, std = self.statistics(self.spec(value, train))

        def features(some: Any) -> Tensor:
            parts = (some[slice(start, start + step)] for step in [at_a_time(some.samples)] for start in range(0, len(some), step))
            scaled = ((((part.samples - mean) / std).masked_fill(~part.mask[:, None], 0), part) for part in parts)
            return torch.cat([rhythms(samples, part.mask, part.rate).flatten(1) for samples, part in scaled])

        return features

    def floors(self, value: Any, train: Tensor, dim: int, seed: int) -> dict[str, Floor]:
        return {
            **super().floors(value, train, dim, seed),
            BAND_POWER.name: Floor(BAND_POWER.phrase, lambda: self.band_powers(value, train), "forest"),
        }

    def pictures(self, value: Any) -> Tensor:
        """(samples, 1, 96, 96) uint8: the traces of the channels one below another, dark on light; of more than 8 channels rows of grey."""
        samples = F.adaptive_max_pool1d(value.samples, PICTURE), -F.adaptive_max_pool1d(-value.samples, PICTURE)
        highest, lowest = (part.float() for part in samples)
        channels = highest.shape[1]
        low, high = lowest.amin(2, keepdim=True), highest.amax(2, keepdim=True)
        extent = (high - low).clamp(min=1e-12)
        if channels > TRACES:
            grey = ((highest + lowest) / 2 - low) / extent
            return (F.interpolate(grey[:, None], (PICTURE, PICTURE)) * 255).round().to(torch.uint8)
        height = PICTURE // channels
        rows = torch.arange(height)[:, None]
        top, bottom = (((high - edge) / extent * (height - 1)).round()[:, :, None] for edge in (highest, lowest))
        traced = (rows >= top) & (rows <= bottom)
        picture = torch.full((len(highest), PICTURE, PICTURE), 255, dtype=torch.uint8)
        picture[:, : height * channels] = picture[:, : height * channels].masked_fill(traced.flatten(1, 2), 0)
        return picture[:, None]

    def stored_beside(self, spec: InputSpec) -> dict[str, Any]:
        names = spec.reading.get("channels")
        return {"rate": spec.rate, **({"channels": list(names)} if names else {})}

    def topography(self, value: Any) -> Topography | None:
        """The power of each rhythm in dB, where four channels or more are electrodes of the 10-20 or 10-10 system."""
        places = placed(value.reading.get("channels") or ())
        if len(places) < FEWEST_PLACED:
            return None
        chosen = replace(value, samples=value.samples[:, list(places)])
        samples = (chosen.samples / chosen.samples.std().clamp(min=1e-30)).masked_fill(~chosen.mask[:, None], 0)
        power = rhythms(samples, chosen.mask, chosen.rate) * DECIBELS
        return Topography([*places.values()], [*bands_of(samples.shape[2], chosen.rate)], power.mT, "dB")

    def query(self, query: Any, spec: InputSpec) -> tuple[str, Value]:
        if isinstance(query, np.ndarray | Tensor):
            return "array", self.checked(self.of_array(torch.as_tensor(query)[None], spec.rate), "the query")
        raise UserError("a query for signals is a row such as #17, or an array (channels, time) in Python", where=query)

    def of_array(self, array: Tensor, rate: float | None = None) -> Value:
        """An array (samples, channels, time), or (samples, time) of one channel, at a rate."""
        if rate is None:
            raise UserError("signals need their rate", hint=SHAPE)
        samples = array[:, None] if array.ndim == 2 else array
        return Signal(samples, torch.ones(len(samples), samples.shape[-1], dtype=torch.bool), rate)

    def example(self, spec: InputSpec, count: int, generator: torch.Generator) -> Tensor:
        mean, std = self.statistics(spec)
        return torch.randn(count, *spec.shape, generator=generator) * std + mean


def rhythms(samples: Float[Tensor, "batch channels time"], mask: Tensor, rate: float) -> Float[Tensor, "batch channels bands"]:
    """The logarithm of the mean power in each rhythm below half the rate; where there are fewer than two, in five bands of equal ratios below it."""
    time, lengths = samples.shape[2], mask.sum(1).clamp(min=1)
    mean = samples.sum(2) / lengths[:, None]
    hann = torch.hann_window(time, periodic=False, dtype=samples.dtype, device=samples.device)
    spectrum = torch.fft.rfft((samples - mean[..., None]).masked_fill(~mask[:, None], 0) * hann)
    power = spectrum.abs().square() / lengths[:, None, None]
    inside = inside_rhythms(time, rate).to(power)
    return ((power @ inside) / inside.sum(0).clamp(min=1) + LEAST_POWER).log()


def inside_rhythms(time: int, rate: float) -> Float[Tensor, "frequencies bands"]:
    """1 where one of the time // 2 + 1 frequencies of so many samples lies in a band (see `rhythms`), else 0."""
    frequencies = torch.fft.rfftfreq(time, 1 / rate)
    return torch.stack([(frequencies >= low) & (frequencies < high) for low, high in bands_of(time, rate).values()], 1).float()


def bands_of(time: int, rate: float) -> dict[str, tuple[float, float]]:
    """The bands of so many samples in Hz, by name (see `rhythms`)."""
    bands = {f"{name} {low:g}-{high:g} Hz": (low, high) for name, (low, high) in RHYTHMS.items() if high <= rate / 2}
    if len(bands) >= 2:
        return bands
    edges = np.geomspace(2 * rate / time, rate / 2, 6).tolist() if time > 8 else [0.0, rate / 2]
    return {f"{low:.3g}-{high:.3g} Hz": (low, high) for low, high in itertools.pairwise(edges)}


def course(samples: Float[Tensor, "batch channels time"]) -> Float[Tensor, "batch channels steps"]:
    """Each channel without its mean as the means of 16 pieces, without outliers."""
    centred = (samples - samples.mean(2, keepdim=True)).clamp(-OUTLIER, OUTLIER)
    return F.adaptive_avg_pool1d(centred, min(STEPS, math.ceil(samples.shape[2])))
