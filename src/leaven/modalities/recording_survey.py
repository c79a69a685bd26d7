"""What the headers of recordings say, and from that the rate, the channels and the numbers in which all are stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from leaven.errors import UserError
from leaven.modalities.recording_files import Event, RecordingFile, RecordingReading

MOSTLY = 0.5  # share of the recordings that must have a channel, or more than 16 bits


@dataclass(frozen=True)
class Head:
    """What a recording says of itself; see `RecordingFile`. rate: 0 where it does not say."""

    rate: float
    length: int
    channels: tuple[str, ...]
    deep: bool
    events: tuple[Event, ...]
    breaks: tuple[int, ...]
    header: Mapping[str, str]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, file: RecordingFile) -> Head:
        return cls(file.rate, file.length, file.channels, file.deep, file.events, file.breaks, file.header, file.notes)


@dataclass(frozen=True)
class Form:
    """How recordings are stored. sound: whether they are in -1..1. mix: of sound, "mono" or "first"; else channels are picked by their names."""

    rate: float
    channels: tuple[str, ...]
    dtype: str
    sound: bool
    mix: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def mixed(self, samples: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """(channels, time) as it is stored."""
        if self.mix:
            return samples[:1] if self.mix == "first" or len(samples) == 1 else samples.mean(0, keepdims=True)
        if tuple(names) == tuple(self.channels):
            return samples
        places = {name.lower(): number for number, name in enumerate(names)}
        return samples[[places[name.lower()] for name in self.channels]]


def survey(heads: Sequence[Head | str], reading: RecordingReading, sound: bool) -> tuple[Form, dict[int, str], tuple[str, ...]]:
    """How recordings are stored, the rows that do not fit it, and why, and notes for the user. Raises UserError where nothing fits."""
    known = {row: head for row, head in enumerate(heads) if isinstance(head, Head)}
    notes: list[str] = []
    rates = Counter(head.rate for head in known.values() if head.rate)
    rate = reading.rate or (max(rates, key=lambda rate: (rates[rate], rate)) if rates else None)
    if rate is None:
        if known:
            raise UserError("these recordings do not say their rate", hint="say it with --set rate=250, in Hz")
        rate = 1.0
    if len(rates) > 1:
        counts = ", ".join(f"{count:,} of {own:g} Hz" for own, count in rates.most_common(4))
        notes.append(f"rates differ ({counts}): all are read at {rate:g} Hz (--set rate=HZ takes another)")
    elif rates and rate not in rates:
        notes.append(f"resampled from {next(iter(rates)):g} to {rate:g} Hz")
    mix = {(): "mono", ("mono",): "mono", ("first",): "first"}.get(reading.channels, "") if sound else ""
    channels: tuple[str, ...] = ("mono",)
    unfit: dict[int, str] = {}
    if mix:
        several = [len(head.channels) for head in known.values() if len(head.channels) > 1]
        if several and mix == "mono":
            have = "has" if len(several) == 1 else "have"
            widths = f"{min(several)}" if min(several) == max(several) else f"{min(several)} to {max(several)}"
            others = "--set channels=first reads the first, channels=all reads all as a signal"
            notes.append(f"{len(several):,} of {len(known):,} sounds {have} {widths} channels: their mean is read ({others})")
    else:
        channels, unfit, more = common_channels(known, () if reading.channels == ("all",) else reading.channels)
        notes += more
    deep = sum(head.deep for head in known.values()) > MOSTLY * len(known)
    return Form(rate, channels, "float32" if deep or not sound else "int16", sound, mix), unfit, tuple(notes)


def common_channels(heads: Mapping[int, Head], wanted: Sequence[str]) -> tuple[tuple[str, ...], dict[int, str], list[str]]:
    """The channels that are read: those wanted, else those that at least half of the recordings have; the rows that lack some of them, and why;
    notes."""
    counts: Counter[str] = Counter()
    spelled: dict[str, str] = {}
    for head in heads.values():
        for name in head.channels:
            spelled.setdefault(name.lower(), name)
        counts.update({name.lower() for name in head.channels})
    if wanted:
        if missing := [name for name in wanted if name.lower() not in counts]:
            raise UserError(f"no recording has the channel {missing[0]}", hint=f"they have {', '.join(spelled.values())}")
        chosen = list(wanted)
    else:
        chosen = [name for key, name in spelled.items() if counts[key] >= MOSTLY * len(heads)]
    unfit = {}
    for row, head in heads.items():
        own = {name.lower() for name in head.channels}
        if lacking := [name for name in chosen if name.lower() not in own]:
            named = ", ".join(lacking[:4]) + (f" and {len(lacking) - 4} more" if len(lacking) > 4 else "")
            unfit[row] = f"it lacks the channel{'s' * (len(lacking) > 1)} {named}"
    left = [name for key, name in spelled.items() if key not in {name.lower() for name in chosen}]
    notes = [f"channels that are not read: {', '.join(left[:6])}" + (f" and {len(left) - 6} more" if len(left) > 6 else "")] if left else []
    return tuple(chosen), unfit, notes
