"""Recordings over time in files: how they are opened, which part is read, and how."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from leaven.errors import UserError
from leaven.hyperparameters import TwoOrMore, Width, replace_fields
from leaven.modalities.resampling import margin, ratio, resampled, resampled_length

UNITS = {"": 1.0, "s": 1.0, "ms": 0.001, "m": 60.0, "min": 60.0}
BLOCK = 2**20  # numbers that are read together


class Unusable(Exception):
    """This recording cannot be used, and why."""


@dataclass(frozen=True)
class Event:
    """What happens in a recording: onset and duration in seconds (0: a moment), and its name."""

    onset: float
    duration: float
    name: str


class RecordingFile(ABC):
    """A recording that is open.

    format: its name. rate: in Hz, 0 where it does not say. length: samples in time. channels: their names. events: what happens in it. header: what
    it says of itself, such as {"subject": ..., "session": ...}. breaks: places behind which something is missing. notes: what is unusual about it.
    deep: whether its numbers have more than 16 bits.
    """

    format: str
    rate: float
    length: int
    channels: tuple[str, ...]
    breaks: tuple[int, ...] = ()
    events: tuple[Event, ...] = ()
    header: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()
    deep = True

    @abstractmethod
    def read(self, start: int, stop: int) -> np.ndarray:
        """(channels, stop - start) float32 of these samples; fewer where the file ends before it should. Raises Unusable where it cannot be read."""

    @abstractmethod
    def close(self) -> None: ...


def part_of(file: RecordingFile, rate: float, start: int, stop: int) -> np.ndarray:
    """(channels, stop - start) float32 of a recording at another rate: the same numbers, whichever part is read."""
    up, down = ratio(file.rate or rate, rate)
    if up == down:
        return file.read(start, min(stop, file.length))
    around = margin(file.rate, rate)
    first = max(0, start // up * down - around)
    last = min(file.length, -(-stop // up) * down + around)
    left = start - first // down * up
    return resampled(file.read(first, last), file.rate, rate)[:, left : left + stop - start]


def blocks_of(file: RecordingFile, rate: float) -> Iterator[np.ndarray]:
    """A whole recording at a rate, a block (channels, time) at a time, as far as it goes."""
    length = resampled_length(file.length, file.rate or rate, rate)
    step = max(1, BLOCK // len(file.channels))
    for start in range(0, length, step):
        stop = min(start + step, length)
        block = part_of(file, rate, start, stop)
        if block.size:
            yield block
        if block.shape[1] < stop - start:
            return


def middle_of(file: RecordingFile, rate: float, most: int) -> np.ndarray:
    """(time,) float32: the mean of the channels of a recording at a rate; its middle where it is longer than so many samples."""
    length = resampled_length(file.length, file.rate, rate)
    start = max(0, (length - most) // 2)
    samples: np.ndarray = part_of(file, rate, start, min(length, start + most)).mean(0)
    if not samples.size:
        raise Unusable("it holds no samples")
    return samples


@dataclass(frozen=True)
class RecordingReading:
    """How recordings are read.

    rate: Hz of all (None: the commonest). window, hop: seconds of a sample, and from one to the next (None: sounds stay whole up to 30 s); hop is the
    window unless it is said. start: seconds from an event to its window. channels: of sound "mono" (their mean), "first" or "all"; of signals the
    names of those to read. windows: "all", side by side, or "events", one at each event; "auto": at events where there are any. events: the names of
    those that count (none: all). layout: of an array in two dimensions, "samples" (each row a sample) or "recording" (channels over time). frames:
    how many numbered pictures of a folder, one after another, are a sample, whose channels are their pixels (None: each picture is a sample); rate
    says how many there are in a second (None: 1), and hop is counted in these seconds. side: pixels of their shorter side, to which they are shrunk.
    """

    rate: float | None = None
    window: float | None = None
    hop: float | None = None
    start: float = 0.0
    channels: tuple[str, ...] = ()
    windows: Literal["auto", "all", "events"] = "auto"
    events: tuple[str, ...] = ()
    layout: Literal["auto", "samples", "recording"] = "auto"
    frames: TwoOrMore | None = None
    side: Width = 16

    def __post_init__(self) -> None:
        for name in ("rate", "window", "hop"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise UserError(f"{name} must be above 0, not {value:g}")

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> RecordingReading:
        """From texts of a user, or from what an encoder keeps."""
        read = dict(settings)
        for name in ("window", "hop", "start"):
            if read.get(name) not in (None, "none"):
                read[name] = seconds(read[name], name)
        for name in ("channels", "events"):
            if isinstance(read.get(name), str):
                read[name] = tuple(part.strip() for part in read[name].split(",") if part.strip())
        return replace_fields(cls(), read, "reading")

    def to_dict(self) -> dict[str, Any]:
        """What was said or chosen, as plain JSON values."""
        plain = RecordingReading()
        kept = {name: value for name, value in asdict(self).items() if value != getattr(plain, name)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}


def seconds(value: Any, name: str) -> float:
    """A time such as 1.5, "1.5s", "200ms" or "2m", in seconds."""
    if isinstance(value, int | float):
        return float(value)
    written = re.fullmatch(r"\s*(-?[\d.]+(?:e-?\d+)?)\s*([a-z]*)\s*", str(value))
    try:
        assert written is not None
        return float(written[1]) * UNITS[written[2]]
    except (AssertionError, ValueError, KeyError):
        raise UserError(f"{name} takes a time such as 1s or 200ms, not {value!r}") from None
