"""Random views of signals of several channels."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from leaven.draw import Draw
from leaven.errors import UserError
from leaven.modalities import Signal
from leaven.views.time import factors, fast_length, paced, spans, window_of
from leaven.views.views import Views

SIDE = re.compile(r"([A-Za-z]+)(\d+)\W*")  # of channels such as C3 (left, odd) and TP10 (right, even)


@dataclass(frozen=True)
class SignalViews(Views):
    """Moved and stretched in time, weaker or stronger, upside down, with noise, without some channels, moments and frequencies (Mohsenvand et al.
    2020, table 1; Rommel et al. 2022).

    Levels are counted from each channel's mean, in its standard deviation in the training data; without an encoder, which knows these, from the mean
    and in the deviation of the sample's own channel. Each sample has its own random numbers; 0 switches a change off.

    shift: by how many seconds a signal moves at most, forwards or backwards; what is missing then is 0. stretch: by which share it is slower or
    faster at most, around its middle (below 1). scale: by which share it is weaker or stronger at most, all channels alike (below 1). noise: the
    largest deviation of white noise. drop: probability that a channel shows nothing but its mean. time_masks: moments without signal. time_mask: the
    largest share of a signal that one lasts. band_mask: how many Hz of frequencies are missing at most, anywhere below half the rate. negate:
    probability that it is turned upside down. mirror: probability that channels of the left and the right side change places, by names such as C3 and
    C4 (leave it at 0 where labels name a side).
    """

    kind = "signals"
    modality = "signal"

    shift: float = 0.1
    stretch: float = 0.1
    scale: float = 0.3
    noise: float = 0.3
    drop: float = 0.1
    time_masks: int = 1
    time_mask: float = 0.2
    band_mask: float = 5.0
    negate: float = 0.0
    mirror: float = 0.0
    channels: ClassVar[tuple[Tensor, Tensor] | None] = None
    """Mean and deviation of each channel, where they are known."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_not_negative("shift", "stretch", "scale", "noise", "band_mask")
        for name in ("stretch", "scale"):
            self._require(name, getattr(self, name) < 1, "below 1")
        self._require_probabilities("drop", "time_mask", "negate", "mirror")
        self._require_whole("time_masks", 0)

    def scaled(self, mean: Sequence[float], std: Sequence[float]) -> SignalViews:
        views = copy.copy(self)
        if mean and std:
            object.__setattr__(views, "channels", (torch.tensor(mean)[:, None], torch.tensor(std)[:, None]))
        return views

    def view(self, value: Signal, number: int, draw: Draw) -> Signal:
        x, mask = value.samples, value.mask
        changes = self.shift, self.stretch, self.scale, self.noise, self.drop, self.time_masks, self.band_mask, self.negate, self.mirror
        if not any(changes):
            return value
        (batch, _, time), device = x.shape, x.device

        def uniform(what: str, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
            return draw.child(what, number).uniform(batch, *shape, low=low, high=high).to(device)

        def chosen(what: str, probability: float, *shape: int) -> Tensor:
            return draw.child(what, number).chance(probability, batch, *shape).to(device)

        with torch.autocast(device.type, enabled=False):
            mean, std = self.levels(x, mask)
            x = ((x - mean) / std).masked_fill(~mask[:, None], 0)
            if self.mirror:
                x = torch.where(chosen("mirror", self.mirror)[:, None, None], x[:, mirrored(value.reading.get("channels"))], x)
            if self.band_mask:
                size = fast_length(time)
                spectrum = torch.fft.rfft(x, size)
                frequency = torch.arange(spectrum.shape[2], device=device) * (value.rate / size)
                width = self.band_mask * uniform("band_width", 1)
                begin = uniform("band_begin", 1) * (value.rate / 2 - width).clamp(min=0)
                missing = (frequency >= begin) & (frequency < begin + width)
                x = torch.fft.irfft(spectrum.masked_fill(missing[:, None], 0), size)[..., :time]
            if self.stretch or self.shift:
                move = value.rate * uniform("shift", low=-self.shift, high=self.shift) if self.shift else torch.zeros(batch, device=device)
                if self.stretch:
                    pace = factors(uniform("stretch", low=-1.0), self.stretch)
                    x = paced(x, (1 - pace) * (mask.sum(1) - 1) / 2 + move, pace, time)
                else:
                    x = window_of(x, move.round().long(), time)
            if self.scale:
                x = x * factors(uniform("scale", 1, 1, low=-1.0), self.scale)
            if self.negate:
                x = torch.where(chosen("negate", self.negate)[:, None, None], -x, x)
            if self.time_masks and self.time_mask:
                width = self.time_mask * uniform("time_width", self.time_masks)
                x = x.masked_fill(spans(uniform("time_begin", self.time_masks), width, mask.sum(1).to(x), time)[:, None], 0)
            if self.noise:
                x = x + self.noise * uniform("noise_level", 1, 1) * draw.child("noise", number).normal(*x.shape).to(x)
            if self.drop:
                x = x.masked_fill(chosen("drop", self.drop, x.shape[1])[..., None], 0)
            return replace(value, samples=(x * std + mean).masked_fill(~mask[:, None], 0))

    def levels(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        if self.channels is not None:
            mean, std = (known.to(x) for known in self.channels)
            return mean, std
        count = mask.sum(1).clamp(min=1)[:, None, None]
        mean = x.sum(2, keepdim=True) / count
        std = ((x - mean).masked_fill(~mask[:, None], 0).square().sum(2, keepdim=True) / count).sqrt()
        return mean, torch.where(std > 0, std, 1)


def mirrored(channels: Sequence[str] | None) -> list[int]:
    """For each channel the one on the other side of the head: C4 for C3. UserError where names do not tell."""
    places = {}
    for place, name in enumerate(channels or ()):
        if match := SIDE.fullmatch(name):
            places[match[1].upper(), int(match[2])] = place
    order = list(range(len(channels or ())))
    for (region, number), place in places.items():
        order[place] = places.get((region, number + 1 if number % 2 else number - 1), place)
    if order == sorted(order):
        what = "channels cannot change sides: their names do not tell left from right"
        raise UserError(what, where="views.mirror", hint="name them as C3 and C4 are, or set views.mirror=0")
    return order
