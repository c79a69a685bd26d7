"""Sound."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from leaven.errors import UserError
from leaven.modalities.mel import frame_counts, log_mel, sizes
from leaven.modalities.modality import TOKENS, DefaultEncoder
from leaven.modalities.over_time import OverTime
from leaven.modalities.quality import extent, qualities, spoken
from leaven.modalities.recording_files import Unusable, middle_of
from leaven.modalities.resampling import resampled_length, resampled_tensor
from leaven.modalities.sound_files import OVERSHOOT, SCALES, is_sound_file, opened_sound
from leaven.modalities.spec import InputSpec
from leaven.modalities.timeline import at_a_time, beginnings, masked_moments, middle
from leaven.modalities.value import Value

LOUDEST = {torch.uint8: 2**7, torch.int16: 2**15, torch.int32: 2**31}
BANDS, QUIET = 40, 6 * math.log(10)  # of the raw input; 60 dB below the loudest moment
PICTURE_BANDS, PICTURE_FRAMES, RANGE = 64, 96, 8.0  # of a picture; its darkest is e^8 (35 dB) below its brightest
WHOLE = {
    "kind": "sound", "count": 1, "crop_min": 1, "speed": 0, "reverb": 0, "equalize": 0, "band_masks": 0, "time_masks": 0, "noise": 0,
}  # fmt: skip
"""Views that take nothing away."""
HINT = "give a sound file, an array of samples, or a row such as #17"
SHAPE = 'sound is (N, T), with its rate: {"x": samples, "rate": 16000}, or Wave(samples, lengths, rate)'


@dataclass(frozen=True, eq=False)
class Wave(Value):
    """Sound of one channel: samples (B, T) float32 in -1..1, zeros beyond a sound's end; lengths (B,) int64, at most T; rate in Hz.

    reading: how it was read from files (see `RecordingReading`), as plain JSON values. origin: (B, 3) float32, the number of the recording of which
    each sample is a part, and where in it this begins and ends, in seconds; None where samples are recordings of their own.
    """

    modality = "wave"
    samples: Tensor  # or a LazyTensor, until samples are selected
    lengths: Tensor
    rate: float
    reading: dict[str, Any] = field(default_factory=dict)
    origin: Tensor | None = None

    @property
    def mask(self) -> Bool[Tensor, "batch time"]:
        """True where there is sound."""
        return beginnings(self.lengths, self.samples.shape[1])


class WaveModality(OverTime):
    """One channel of sound."""

    name, noun, plural, values = "wave", "sound", "sounds", (Wave,)
    role_names = ("sound", "audio", "speech")
    encoders = (
        DefaultEncoder("causal_frames", "the method predicts later moments from those before", "causal_frames"),
        DefaultEncoder("frames", "the method relates moments, and log-mel frames cost a tenth of convolutions over the waveform", "frames"),
        DefaultEncoder("mel_vit", "the method needs tokens, and these are patches of the log-mel spectrogram", TOKENS),
        DefaultEncoder("mel_convnet", "a convnet over log-mel frames: convolutions over the waveform cost ten times as much"),
    )
    library = "transformers"
    method = ("simclr", "the most accurate after a short training, of the methods measured on sound")
    views = {
        "contrast": {"kind": "sound"},
        "reconstruction": WHOLE,
        "labels": {**WHOLE, "speed": 0.1, "band_masks": 1, "time_masks": 1, "noise": 0.2},
        "plain": {**WHOLE, "gain": 0},
    }
    visible = True
    export_name, export_format = "samples", "float32 in -1..1, (batch, time), at the rate of the encoder's input"

    def spec(self, value: Any, train: Tensor) -> InputSpec:
        """One mean and deviation for all samples, over what is sound of the training rows."""
        mean, std = masked_moments(value.samples, lambda rows: beginnings(value.lengths[rows], value.samples.shape[1]), train)
        return InputSpec(self.name, tuple(value.samples.shape[1:]), mean, std, rate=value.rate, reading=value.reading)

    def sample_bytes(self, value: Any) -> Iterable[tuple[bytes, ...]]:
        """The sound alone: how far it is padded says nothing."""
        for start in range(0, len(value), step := at_a_time(value.samples)):
            part = value[slice(start, start + step)]
            for samples, length in zip(part.samples.numpy(), part.lengths.tolist(), strict=True):
                yield (samples[:length].tobytes(),)

    def checked(self, value: Any, where: str) -> Value:
        samples, lengths = value.samples, value.lengths
        if value.lazy:
            return value
        if samples.ndim != 2 or 0 in samples.shape or lengths.shape != samples.shape[:1]:
            raise UserError(f"an array of shape {tuple(samples.shape)} with {len(lengths)} lengths is no sound", where=where, hint=SHAPE)
        if not value.rate > 0:
            raise UserError(f"sound cannot have a rate of {value.rate:g} Hz", where=where, hint=SHAPE)
        lengths = lengths.long()
        if (lengths < 0).any() or (lengths > samples.shape[1]).any():
            raise UserError(f"a sound cannot be {int(lengths.max())} samples long in an array of {samples.shape[1]}", where=where, hint=SHAPE)
        unit = in_unit_range(samples).masked_fill(~beginnings(lengths, samples.shape[1]), 0)
        return replace(value, samples=unit, lengths=lengths, rate=float(value.rate))

    def empty(self, value: Any) -> tuple[Tensor, str] | None:
        unusable = value.lengths == 0
        if not value.lazy:
            unusable = unusable | ~value.samples.isfinite().all(1)
        return unusable, "no samples, or some that are not finite"

    def summary(self, value: Any) -> dict[str, Any]:
        """rate, seconds {min, median, max}, and `qualities`."""
        mask = partial(beginnings, time=value.samples.shape[1])
        found = qualities(value.samples, lambda rows: mask(value.lengths[rows]), value.rate, ("mono",), full_scale=1.0)
        return {"rate": value.rate, "seconds": extent(value.lengths / value.rate), "count": len(value), **found}

    def title(self, count: int, described: dict[str, Any]) -> str:
        return f"{count:,} {self.noun if count == 1 else self.plural}, {spoken(described['seconds'])} at {described['rate']:g} Hz"

    def difference(self, spec: InputSpec, wanted: InputSpec) -> str:
        """Sound of any length and rate is read."""
        return ""

    def fitted(self, value: Any, shape: tuple[int, ...], rate: float | None = None) -> Value:
        """Resampled; the middle of longer sounds; silence after shorter ones."""
        if rate and rate != value.rate:
            lengths = torch.tensor([resampled_length(length, value.rate, rate) for length in value.lengths.tolist()], device=value.lengths.device)
            value = replace(value, samples=resampled_tensor(value.samples, value.rate, rate), lengths=lengths, rate=rate)
        (time,) = shape
        if value.samples.shape[1] == time:
            return value
        return replace(value, samples=middle(value.samples, value.lengths, time), lengths=value.lengths.clamp(max=time))

    def of_numbers(self, numbers: Tensor, spec: InputSpec, *, whole: bool = False) -> Value:
        lengths = torch.full((len(numbers),), numbers.shape[1], device=numbers.device)
        return Wave(numbers.clamp(-1, 1), lengths, spec.rate or 0.0)

    def raw_features(self, value: Any, train: Tensor) -> Callable[[Value], Float[Tensor, "samples dim"]]:
        """Mean and standard deviation over time of 40 log-mel bands; what is 60 dB below the loudest moment is as quiet as anything."""

        def features(some: Any) -> Tensor:
            hop = sizes(some.rate)[2]
            parts = []
            for start in range(0, len(some), step := at_a_time(some.samples)):
                part = some[slice(start, start + step)]
                bands = log_mel(part.samples, some.rate, bands=BANDS)
                count = frame_counts(part.lengths, hop)[:, None]
                real = (torch.arange(bands.shape[2]) < count)[:, None]
                bands = torch.maximum(bands, bands.masked_fill(~real, -torch.inf).amax((1, 2), keepdim=True) - QUIET)
                mean = (bands * real).sum(2) / count
                variance = ((bands - mean[..., None]).square() * real).sum(2) / count
                parts.append(torch.cat([mean, variance.sqrt()], 1))
            return torch.cat(parts)

        return features

    def pictures(self, value: Any) -> Tensor:
        """(samples, 1, bands, frames) uint8: log-mel spectrograms, low sounds below, each as bright as its loudest part."""
        seconds = value.samples.shape[1] / value.rate
        hop = max(seconds / PICTURE_FRAMES, 1 / value.rate)
        bands = log_mel(value.samples, value.rate, bands=PICTURE_BANDS, window=max(0.025, hop), hop=hop)[..., :PICTURE_FRAMES]
        brightness = 1 + (bands - bands.amax((1, 2), keepdim=True)) / RANGE
        return (brightness.clamp(0, 1) * 255).round().to(torch.uint8).flip(1)[:, None]

    def recognizes(self, query: Any) -> bool:
        return isinstance(query, np.ndarray | Tensor) or is_sound_file(query)

    def query(self, query: Any, spec: InputSpec) -> tuple[str, Value]:
        """A sound file, of which the middle is read where it is long; or an array of samples at the rate of the data."""
        if isinstance(query, np.ndarray | Tensor):
            samples = torch.as_tensor(query)
            return "array", self.checked(self.of_array(samples[None], spec.rate), "the query")
        if not isinstance(query, str | Path):
            raise UserError(f"a {type(query).__name__} is no query", hint=HINT)
        path = Path(query).expanduser()
        if not os.path.exists(path):
            raise UserError("no such sound, and no such sample in the data", where=query, hint=HINT)
        try:
            with opened_sound(path) as file:
                samples = torch.from_numpy(middle_of(file, spec.rate or file.rate, spec.shape[0]))
        except Unusable as reason:
            raise UserError(f"the query cannot be used: {reason}", where=query, hint=HINT) from None
        return str(query), Wave(samples[None], torch.tensor([len(samples)]), spec.rate or 0.0)

    def of_array(self, array: Tensor, rate: float | None = None) -> Value:
        """An array (samples, time) at a rate."""
        if rate is None:
            raise UserError("samples of sound need their rate", hint=SHAPE)
        return Wave(array, torch.full((len(array),), array.shape[1] if array.ndim == 2 else 0), rate)


def in_unit_range(samples: Tensor) -> Float[Tensor, "batch time"]:
    """As float32 in -1..1: whole numbers by their type; floats far beyond 1 by the smallest usual scale of whole numbers that holds them."""
    if samples.dtype in LOUDEST:
        offset = 128 if samples.dtype == torch.uint8 else 0
        return (samples.float() - offset) / LOUDEST[samples.dtype]
    samples = samples.float()
    peak = float(samples.nan_to_num(0, 0, 0).abs().max()) if samples.numel() else 0.0
    if peak > OVERSHOOT:
        samples = samples / next((scale for scale in SCALES if peak <= scale), peak)
    return samples.clamp(-1, 1)
