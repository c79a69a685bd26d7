"""Recordings cut into samples: whole, side by side, or at events. Nothing is read before samples are selected."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leaven.data import labels as labeling
from leaven.data.groups import usual_groups
from leaven.data.labels import LabelReading, Labels
from leaven.data.recording_cache import Store
from leaven.data.sources.listing import Listing, Part
from leaven.errors import UserError
from leaven.modalities import LazyTensor, Signal, Value, Wave
from leaven.modalities.content import content_hash
from leaven.modalities.recording_files import Event, RecordingReading
from leaven.modalities.timeline import at_a_time, beginnings

WHOLE = 30.0  # seconds up to which recordings are samples as they are
DEFAULT = 2.0  # seconds of the windows of longer ones
MOMENT = 1.0  # seconds of windows at events that have no duration
MOST = 0.99  # share of the whole recordings that are not cut at their end
LONGER = 1.25  # times as long as these: up to there, nothing is cut
LEAST = 0.5  # share of a window at an event that must lie within the recording
NO_CLASS = ("bad", "edge", "boundary", "new segment", "recording ends", "recording starts")  # events that are no classes, by their beginnings
OF_EVENTS = ("event", "events", "marker", "markers", "annotation", "annotations")
"""What --labels may call them."""


@dataclass(frozen=True)
class Plan:
    """Where samples lie. recording, start, length: (N,) each; names: of the events at which they lie, where they do; time: samples of the longest;
    reading: as it came to be; notes: for the user."""

    recording: np.ndarray
    start: np.ndarray
    length: np.ndarray
    names: list[str | None] | None
    time: int
    reading: RecordingReading
    notes: tuple[str, ...]


class OnDevice(LazyTensor):
    """Samples that lie on a GPU as a whole where they are moved there."""

    def to(self, device: Any = "cpu", **_: object) -> Any:  # type: ignore[override]
        if torch.device(device).type == "cpu":
            return self
        moved = torch.empty(self.shape, dtype=self.dtype, device=device)
        for start in range(0, len(self), step := at_a_time(self)):
            moved[start : start + step] = self[start : start + step].to(device)
        return moved


class Slices(OnDevice):
    """(N, C, T) parts of recordings, (N, T) of sound, with zeros behind the shorter ones."""

    dtype = torch.float32

    def __init__(self, store: Store, recording: np.ndarray, start: np.ndarray, length: np.ndarray, time: int, channels: bool):
        self.store, self.recording, self.start, self.length, self.channels = store, recording, start, length, channels
        self.shape = torch.Size((len(start), len(store.form.channels), time) if channels else (len(start), time))
        self.costly = store.costly  # type: ignore[misc]

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        rows = np.arange(len(self))[index.cpu().numpy() if isinstance(index, Tensor) else index]
        samples = np.zeros((len(rows), len(self.store.form.channels), self.shape[-1]), np.float32)
        for number, row in enumerate(rows.tolist()):
            part = self.store.read(int(self.recording[row]), int(self.start[row]), int(self.start[row] + self.length[row]))
            samples[number, :, : len(part)] = part.T
        return torch.from_numpy(samples if self.channels else samples[:, 0])

    def take(self, index: np.ndarray) -> Slices:
        parts = (self.recording[index], self.start[index], self.length[index])
        return Slices(self.store, *parts, self.shape[-1], self.channels)


class Beginnings(OnDevice):
    """(N, T) bool: true for so many places from the beginning."""

    dtype = torch.bool

    def __init__(self, lengths: Tensor, time: int):
        self.lengths, self.shape = lengths, torch.Size((len(lengths), time))

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        return beginnings(self.lengths[index.cpu() if isinstance(index, Tensor) else index], self.shape[1])

    def take(self, index: np.ndarray) -> Beginnings:
        return Beginnings(self.lengths[torch.from_numpy(index)], self.shape[1])


@dataclass(frozen=True, eq=False)
class Windows(Listing):
    """Samples of recordings, then the recordings that cannot be used."""

    listing: Listing
    store: Store
    plan: Plan

    kind = "windows"

    @property
    def root(self) -> Path | str:  # type: ignore[override]
        return self.listing.root

    @property
    def notes(self) -> tuple[str, ...]:  # type: ignore[override]
        return (*self.listing.notes, *self.store.notes, *self.plan.notes)

    @cached_property
    def place(self) -> np.ndarray:
        """The row in the listing of each sample, and of each recording that cannot be used."""
        broken = np.array([row for row, _ in self.store.broken], np.int64)
        return np.concatenate([self.store.kept[self.plan.recording], broken])

    @cached_property
    def names(self) -> list[str]:  # type: ignore[override]
        """The file; `file#12.5s` where it holds several samples."""
        files, rate = self.listing.names, self.store.form.rate
        counts = np.bincount(self.plan.recording, minlength=len(self.store.kept))
        names = []
        for row, recording, start in zip(self.place.tolist(), self.plan.recording.tolist(), self.plan.start.tolist(), strict=False):
            names.append(files[row] if counts[recording] == 1 and not start else self.listing.part_name(row, start, rate))
        return [*names, *(files[row] for row, _ in self.store.broken)]

    def files_of_samples(self) -> Sequence[str]:
        files = self.listing.files_of_samples()
        return [files[row] for row in self.place.tolist()]

    def spread(self, values: Sequence[Any]) -> list[Any]:
        """What is known of each recording, for each of its samples."""
        return [values[row] for row in self.place.tolist()]

    def column_of(self, name: str) -> list[Any] | None:
        values = self.listing.column_of(name)
        return None if values is None else self.spread(values)

    def about(self, name: str) -> list[Any] | None:
        """By what the listing knows, else by what the headers say."""
        values = self.listing.about(name)
        if values is not None:
            return self.spread(values)
        headers = {int(row): header.get(name) for row, header in zip(self.store.kept, self.store.headers, strict=True)}
        return [headers.get(row) for row in self.place.tolist()] if any(headers.values()) else None

    def known_names(self) -> list[str]:
        return [*self.listing.known_names(), "recording", *dict.fromkeys(name for header in self.store.headers for name in header)]

    def splits(self) -> list[str | None]:
        return self.spread(self.listing.splits())

    def labels(self, spec: str | Path | None, how: LabelReading | None = None) -> Labels:
        """None: the names of the events, if samples lie at events, else what the listing has. `events`, `marker` and `annotations` mean these names
        as well."""
        if self.plan.names is not None and (spec is None or str(spec).lower() in OF_EVENTS):
            return labeling.number([*self.plan.names, *(None for _ in self.store.broken)])
        if spec is not None and str(spec).lower() in OF_EVENTS and self.listing.column_of(str(spec)) is None:
            raise UserError("these recordings have no events", where=self.root, hint="give a column, a csv file (file,label) or `folder`")
        return self.listing.labels(spec, how).at(torch.from_numpy(self.place))

    @cached_property
    def chosen_groups(self) -> tuple[Labels, tuple[str, ...]]:
        """By a column that is called as groups are, else by what the listing knows; samples of one recording always belong together."""
        groups, notes = usual_groups(self)
        if groups is None:
            groups = Labels(self.listing.groups()[torch.from_numpy(self.place)], self.listing.group_names())
        return replace(groups, ids=self.kept_together(groups.ids)), notes

    def kept_together(self, groups: Tensor) -> Tensor:
        """The same groups, where samples of one recording that have none are one as well."""
        rows = torch.from_numpy(self.place)
        several = (rows.bincount(minlength=1) > 1)[rows]
        return torch.where((groups < 0) & several, rows + (groups.max() + 1), groups)

    def groups(self) -> Tensor:
        return self.chosen_groups[0].ids

    def group_names(self) -> tuple[str, ...]:
        return self.chosen_groups[0].names

    def group_notes(self) -> tuple[str, ...]:
        return self.chosen_groups[1]

    @cached_property
    def part(self) -> Part:
        """The samples, without those that hold numbers that are not finite."""
        plan, count = self.plan, len(self.plan.start)
        sound = len(self.store.form.channels) == 1 and self.store.form.sound
        samples = Slices(self.store, plan.recording, plan.start, plan.length, plan.time, channels=not sound)
        hashes, faults = self.looked_at(samples)
        usable = np.array([row for row in range(count) if row not in faults], np.int64)
        lengths = torch.from_numpy(plan.length)
        reading = plan.reading.to_dict()
        rate = self.store.form.rate
        parts = zip(plan.recording, plan.start / rate, (plan.start + plan.length) / rate, strict=True)
        origin = torch.tensor(list(parts), dtype=torch.float32)
        mask = Beginnings(lengths, plan.time)
        value: Value = Wave(samples, lengths, rate, reading, origin) if sound else Signal(samples, mask, rate, reading, origin)  # type: ignore[arg-type]
        broken = [*faults.items(), *((count + number, why) for number, (_, why) in enumerate(self.store.broken))]
        if len(usable) < count:
            value, hashes = value.take(torch.from_numpy(usable)), hashes[torch.from_numpy(usable)]
        return Part(value, usable, broken, hashes)

    def looked_at(self, samples: Slices) -> tuple[Tensor, dict[int, str]]:
        """The hash of each sample, over what is real of it, and the samples that hold numbers that are not finite, and why."""
        hashes: list[int] = []
        faults: dict[int, str] = {}
        for start in range(0, len(samples), step := at_a_time(samples)):
            part = samples[start : start + step].numpy()
            for number, (sample, length) in enumerate(zip(part, samples.length[start : start + step].tolist(), strict=True), start):
                real = sample[..., :length]
                silence = real.size and real.min() == real.max()  # says nothing, and must not hold the recordings together in which it occurs
                name = self.listing.names[int(self.place[number])] if silence and len(self.store.kept) > 1 else ""
                hashes.append(content_hash(real.tobytes(), name.encode(errors="surrogateescape")))
                if not np.isfinite(real).all():
                    bad = np.flatnonzero(~np.isfinite(np.atleast_2d(real)).all(1))
                    names = [self.store.form.channels[channel] for channel in bad]
                    faults[number] = f"not finite: {', '.join(names[:4])}" + (f" and {len(names) - 4} more channels" if len(names) > 4 else "")
        return torch.tensor(hashes, dtype=torch.int64), faults


def windows_of(store: Store, reading: RecordingReading, alone: bool = True) -> Plan:
    """Where samples lie in these recordings. alone: whether there may be several of one recording. Raises UserError where there are none."""
    rate = store.form.rate
    by_name = not (store.form.mix or store.form.sound or reading.frames)
    reading = replace(reading, window=reading.frames / rate) if reading.frames else reading
    kept = replace(reading, rate=rate, channels=store.form.channels if by_name else reading.channels)
    events = [counted(some, reading) for some in store.events]
    total = sum(map(len, events))
    if reading.windows == "events" and not total:
        named = f" called {' or '.join(reading.events)}" if reading.events else ""
        raise UserError(f"these recordings have no events{named}", where=store.listing.root, hint="--set windows=all cuts them side by side")
    if not alone:
        return whole(store, kept, np.minimum(store.lengths, round((reading.window or WHOLE) * rate)))
    if total and reading.windows != "all":
        return at_events(store, kept, events)
    seconds = store.lengths / rate
    if reading.window is None and (seconds <= WHOLE).mean() > 0.5:
        return whole(store, kept, store.lengths)
    return side_by_side(store, kept, events)


def counted(events: Sequence[Event], reading: RecordingReading) -> list[Event]:
    """The events that are classes, or those that were named."""
    if reading.events:
        return [event for event in events if event.name in reading.events]
    return [event for event in events if event.name and not event.name.lower().startswith(NO_CLASS)]


def whole(store: Store, reading: RecordingReading, lengths: np.ndarray) -> Plan:
    """Recordings as they are. What is longer than nearly all others is cut at its end, and where it is far longer, into several samples."""
    rate = store.form.rate
    short = lengths[lengths <= WHOLE * rate]
    usual = int(np.quantile(short, MOST, method="higher")) if len(short) else int(lengths.max())
    time = int(short.max()) if len(short) and short.max() <= LONGER * usual else usual
    notes = []
    recording, start = np.arange(len(lengths)), np.zeros(len(lengths), np.int64)
    long = lengths > WHOLE * rate
    if long.any():
        more = [(number, place) for number in np.flatnonzero(long).tolist() for place in range(0, int(lengths[number]) - time + 1, time)]
        keys = sorted([(number, 0) for number in np.flatnonzero(~long).tolist()] + more)
        recording, start = (np.array(part, np.int64) for part in zip(*keys, strict=True))
        notes.append(f"{int(long.sum()):,} longer than {WHOLE:g} s are cut into samples of {time / rate:.3g} s (--set window=SECONDS)")
    if cut := int(((lengths > time) & ~long).sum()):
        those = "is much longer than the others and is" if cut == 1 else "are much longer than the others and are"
        notes.append(f"{cut:,} {those} cut off at {time / rate:.3g} s (--set window=SECONDS cuts all into windows)")
    return Plan(recording, start, np.minimum(lengths[recording] - start, time), None, time, reading, tuple(notes))


def side_by_side(store: Store, reading: RecordingReading, events: Sequence[Sequence[Event]]) -> Plan:
    """Windows of one length, none across a break; of what is shorter than a window, one. Their names: of the event in which their middle lies, or
    that begins in them."""
    rate = store.form.rate
    window = reading.window or DEFAULT
    time, step = max(1, round(window * rate)), max(1, round((reading.hop or window) * rate))
    recording, start, length = [], [], []
    for number, total in enumerate(store.lengths.tolist()):
        edges = [0, *store.breaks[number], total]
        for low, high in itertools.pairwise(edges):
            places = list(range(low, high - time + 1, step)) or ([low] if len(edges) == 2 else [])
            recording += [number] * len(places)
            start += places
            length += [min(time, high - place) for place in places]
    if not start:
        raise UserError(f"no recording has {window:g} s without a break", where=store.listing.root, hint="choose a shorter --set window")
    names: list[str | None] | None = None
    if any(events):
        names = [name_of(events[number], place / rate, time / rate) for number, place in zip(recording, start, strict=True)]
    notes = () if reading.window else (f"longer than {WHOLE:g} s: cut into windows of {window:g} s (--set window=2s --set hop=1s)",)
    return Plan(*placed(recording, start, length), names, time, replace(reading, window=window), notes)


def placed(recording: list[int], start: list[int], length: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.array(recording, np.int64), np.array(start, np.int64), np.array(length, np.int64)


def name_of(events: Sequence[Event], start: float, window: float) -> str | None:
    """Of the event in which the middle of a window lies, else of the first moment in it."""
    middle = start + window / 2
    lasting = next((event.name for event in events if event.duration and event.onset <= middle < event.onset + event.duration), None)
    return lasting or next((event.name for event in events if not event.duration and start <= event.onset < start + window), None)


def at_events(store: Store, reading: RecordingReading, events: Sequence[Sequence[Event]]) -> Plan:
    """A window at each event: as long as most events last, or 1 s where they are moments. Windows that lie mostly outside, or across a break, are
    left out."""
    rate = store.form.rate
    durations = Counter(round(event.duration, 3) for some in events for event in some if event.duration)
    window = reading.window or (durations.most_common(1)[0][0] if durations else MOMENT)
    time = max(1, round(window * rate))
    recording, start, length, names, left = [], [], [], [], 0
    for number, some in enumerate(events):
        total = int(store.lengths[number])
        for event in some:
            place = round((event.onset + reading.start) * rate)
            inside = min(time, total - place)
            if place < 0 or inside < LEAST * time or any(place < edge < place + inside for edge in store.breaks[number]):
                left += 1
                continue
            recording.append(number)
            start.append(place)
            length.append(inside)
            names.append(event.name)
    if not start:
        raise UserError(f"no event has {window:g} s of a recording behind it", where=store.listing.root, hint="choose a shorter --set window")
    counts = Counter(names)
    listed = ", ".join(f"{name} {count:,}" for name, count in counts.most_common(6)) + (" and more" if len(counts) > 6 else "")
    notes = [f"a window of {window:g} s at each of {len(start):,} events ({listed}); --set windows=all cuts whole recordings, events=A,B takes some"]
    notes += [f"{left:,} event{'s' * (left > 1)} too near to an end or a break {'are' if left > 1 else 'is'} left out"] if left else []
    return Plan(*placed(recording, start, length), list(names), time, replace(reading, window=window), tuple(notes))
