"""Random views of sounds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from leaven.draw import Draw
from leaven.modalities import Wave
from leaven.modalities.mel import hertz_to_mel
from leaven.modalities.timeline import beginnings
from leaven.views.time import factors, fast_length, paced, spans, window_of
from leaven.views.views import Views, is_number

VALUES = 2**21  # samples of sound that are changed at once
DRY = 0.5, 4.0  # times as loud as its reverberation is a sound itself, from and to
POINTS = 6  # of the mel scale between which the level of `equalize` changes gradually


@dataclass(frozen=True)
class Numbers:
    """The random numbers of a view of a batch, drawn for all of it, so that its parts get the same ones as the whole. rows: of the part at hand."""

    draw: Draw
    number: int
    batch: int
    device: torch.device
    rows: Tensor | None = None
    drawn: dict[str, Tensor] = field(default_factory=dict)

    def of(self, rows: Tensor) -> Numbers:
        return replace(self, rows=rows)

    def uniform(self, what: str, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return self.kept(what, lambda draw: draw.uniform(self.batch, *shape, low=low, high=high))

    def normal(self, what: str, *shape: int) -> Tensor:
        return self.kept(what, lambda draw: draw.normal(self.batch, *shape))

    def kept(self, what: str, make: Callable[[Draw], Tensor]) -> Tensor:
        if what not in self.drawn:
            self.drawn[what] = make(self.draw.child(what, self.number))
        return self.drawn[what][slice(None) if self.rows is None else self.rows].to(self.device)


@dataclass(frozen=True)
class SoundViews(Views):
    """A part of a sound at another pace, as another room, microphone and level would have it, with gaps in time and frequency and with noise.

    All of them change the waveform, so that every encoder can read it. Each sound has its own random numbers; 0 switches a change off, and so does
    crop_min = 1.

    crop_min: the smallest share of a sound that a view shows (above 0, up to 1). window: seconds that a view has at most; where a sound has more, any
    such part (0: as long as the sound). shift: the longest silence before it, in seconds. speed: by which share it is slower or faster at most, with
    its pitch (below 1). reverb: the longest reverberation, in seconds until it has faded by 60 dB. equalize: by how many dB levels change at most,
    gradually over the mel scale. band_masks: parts of the mel scale that are silent (SpecAugment, Park et al. 2019). band_mask: the largest share of
    the scale that one has. time_masks: silent moments. time_mask: the largest share of the sound that one lasts. noise: the largest deviation of
    white noise, as a share of the sound's. gain: by how many dB it is softer or louder at most.
    """

    kind = "sound"
    modality = "wave"

    crop_min: float = 0.6
    window: float = 0.0
    shift: float = 0.0
    speed: float = 0.2
    reverb: float = 0.2
    equalize: float = 6.0
    band_masks: int = 1
    band_mask: float = 0.2
    time_masks: int = 1
    time_mask: float = 0.2
    noise: float = 0.2
    gain: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("crop_min", is_number(self.crop_min) and 0 < self.crop_min <= 1, "above 0 and at most 1")
        self._require_not_negative("window", "shift", "speed", "reverb", "equalize", "noise", "gain")
        self._require("speed", self.speed < 1, "below 1")
        self._require_probabilities("band_mask", "time_mask")
        for name in ("band_masks", "time_masks"):
            self._require_whole(name, 0)

    def view(self, value: Wave, number: int, draw: Draw) -> Wave:
        """Some sounds at a time, which keeps memory small."""
        numbers = Numbers(draw, number, len(value), value.samples.device)
        at_a_time = max(1, VALUES // value.samples.shape[1])
        with torch.autocast(value.samples.device.type, enabled=False):
            return Wave.cat([self.part(value[rows], numbers.of(rows)) for rows in torch.arange(len(value)).split(at_a_time)])

    def part(self, value: Wave, numbers: Numbers) -> Wave:
        samples, lengths, uniform = value.samples, value.lengths, numbers.uniform
        if self.reverb or self.equalize or (self.band_masks and self.band_mask):
            samples = self.colored(samples, value.rate, numbers)
        samples, lengths = self.moved(samples, lengths, value.rate, uniform)
        real = beginnings(lengths, samples.shape[1])
        if self.time_masks and self.time_mask:
            width = self.time_mask * uniform("time_width", self.time_masks)
            gaps = spans(uniform("time_begin", self.time_masks), width, lengths.to(samples), samples.shape[1])
            samples = samples.masked_fill(gaps, 0)
        if self.noise:
            level = (samples.square().sum(1) / lengths.clamp(min=1)).sqrt() * self.noise * uniform("noise_level")
            samples = samples + level[:, None] * numbers.normal("noise", samples.shape[1])
        if self.gain:
            samples = samples * decibels(uniform("gain", low=-self.gain, high=self.gain))[:, None]
        return replace(value, samples=samples.clamp(-1, 1).masked_fill(~real, 0), lengths=lengths)

    def moved(self, samples: Tensor, lengths: Tensor, rate: float, uniform: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
        """A part of each sound, at its own pace, after some silence; and how long it then is."""
        time = min(samples.shape[1], round(self.window * rate)) if self.window else samples.shape[1]
        if self.crop_min == 1 and not self.shift and not self.speed and time == samples.shape[1]:
            return samples, lengths
        pace = factors(uniform("speed", low=-1.0), self.speed) if self.speed else torch.ones(len(samples), device=samples.device)
        silence = (uniform("shift", high=self.shift) * rate).long() if self.shift else torch.zeros_like(lengths)
        share = uniform("crop", low=self.crop_min) if self.crop_min < 1 else torch.ones(len(samples), device=samples.device)
        silence = silence.clamp(max=time - 1)
        shown = torch.minimum((share * lengths / pace).long().clamp(min=1), time - silence)
        start = uniform("start") * (lengths - (shown - 1) * pace - 1).clamp(min=0)
        place = start - silence * pace
        samples = paced(samples, place, pace, time) if self.speed else window_of(samples, start.long() - silence, time)
        lengths = shown + silence
        moment = torch.arange(time, device=samples.device)
        return samples.masked_fill((moment < silence[:, None]) | (moment >= lengths[:, None]), 0), lengths

    def colored(self, samples: Float[Tensor, "batch time"], rate: float, numbers: Numbers) -> Float[Tensor, "batch time"]:
        """Filtered: levels that change over the mel scale, without some bands, with reverberation."""
        time, uniform = samples.shape[1], numbers.uniform
        tail = round(self.reverb * rate)
        size = fast_length(time + tail)
        spectrum = torch.fft.rfft(samples, size)
        mel = hertz_to_mel(torch.arange(spectrum.shape[1], device=samples.device) * (rate / size))
        place = mel / mel[-1]
        if self.equalize:
            levels = uniform("levels", POINTS, low=-self.equalize, high=self.equalize)
            left = (place * (POINTS - 1)).long().clamp(max=POINTS - 2)
            part = place * (POINTS - 1) - left
            spectrum = spectrum * decibels(levels[:, left] * (1 - part) + levels[:, left + 1] * part)
        if self.band_masks and self.band_mask:
            width = self.band_mask * uniform("band_width", self.band_masks)
            begin = uniform("band_begin", self.band_masks) * (1 - width)
            silent = (place >= begin[..., None]) & (place < (begin + width)[..., None])
            spectrum = spectrum.masked_fill(silent.any(1), 0)
        if self.reverb:
            seconds = torch.arange(1, tail + 1, device=samples.device) / rate
            fading = (-math.log(1000) * seconds / (self.reverb * uniform("fading", 1).clamp(min=0.05))).exp()
            echoes = numbers.normal("echoes", tail) * fading
            wet = 1 / uniform("dry", 1, low=DRY[0], high=DRY[1])
            echoes = wet * echoes / echoes.square().sum(1, keepdim=True).sqrt()
            spectrum = spectrum * (1 + torch.fft.rfft(torch.nn.functional.pad(echoes, (1, 0)), size)) / (1 + wet.square()).sqrt()
        return torch.fft.irfft(spectrum, size)[:, :time]


def decibels(level: Tensor) -> Tensor:
    """The factor of a sound's amplitude."""
    return (level * (math.log(10) / 20)).exp()
