"""Recordings decoded once, at one rate and with the same channels, into one flat file; beyond the cache's limit, read part by part."""

from __future__ import annotations

import contextlib
import itertools
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from leaven.data.cache import FORMAT, Entry, Progress, cache_folder, cache_limit, rewrite_header, write_header
from leaven.data.sources.listing import Listing
from leaven.errors import DAMAGED_ARRAY, UserError
from leaven.modalities.content import digest
from leaven.modalities.recording_files import Event, RecordingFile, RecordingReading, Unusable, blocks_of, part_of
from leaven.modalities.recording_formats import opened_recording, quiet
from leaven.modalities.recording_survey import Form, Head, survey
from leaven.modalities.resampling import resampled_length

TOGETHER, SMALL = 32, 2**21  # recordings that are decoded by one task, and the numbers that they may have in all
LOUD = 2**15
NAMED = 3  # files that are called by their names


class Store(ABC):
    """Recordings at one rate. form: how they are stored; kept: (R,) their rows in the listing; lengths: (R,) samples; events, breaks, headers: of
    each (breaks: places in time behind which something is missing); broken, notes: as `Part` has them."""

    form: Form
    kept: np.ndarray
    lengths: np.ndarray
    events: list[tuple[Event, ...]]
    breaks: list[tuple[int, ...]]
    headers: list[dict[str, str]]
    broken: list[tuple[int, str]]
    notes: tuple[str, ...]
    costly = False

    def __init__(self, listing: Listing, meta: dict[str, Any]):
        self.listing, self.form = listing, Form(**meta["form"])
        self.kept, self.lengths = np.array(meta["kept"], np.int64), np.array(meta["lengths"], np.int64)
        self.events = [tuple(Event(*event) for event in events) for events in meta["events"]]
        self.breaks = [tuple(breaks) for breaks in meta["breaks"]]
        self.headers, self.broken, self.notes = meta["headers"], [(int(row), str(why)) for row, why in meta["broken"]], tuple(meta["notes"])

    @abstractmethod
    def read(self, recording: int, start: int, stop: int) -> np.ndarray:
        """(stop - start, channels) float32; fewer at the end of the recording."""


class Decoded(Store):
    """Decoded, in one flat file of all of them, one after another. Parts are read from it and not mapped, so that they leave memory with their
    samples."""

    def __init__(self, listing: Listing, meta: dict[str, Any], samples: np.memmap):
        super().__init__(listing, meta)
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)])
        if len(samples) != self.starts[-1]:
            raise ValueError("the samples are not as many as their lengths say")
        self.path, self.offset, self.dtype = str(samples.filename), samples.offset, samples.dtype

    def read(self, recording: int, start: int, stop: int) -> np.ndarray:
        first, channels = int(self.starts[recording]), len(self.form.channels)
        count, place = channels * max(0, min(stop, int(self.lengths[recording])) - start), channels * (first + start)
        part = np.fromfile(self.path, self.dtype, count, offset=self.offset + place * self.dtype.itemsize).reshape(-1, channels)
        return part.astype(np.float32) / LOUD if part.dtype == np.int16 else part.astype(np.float32)


class Undecoded(Store):
    """Each part is read from its file whenever it is asked for."""

    costly = True

    def read(self, recording: int, start: int, stop: int) -> np.ndarray:
        (source,) = self.listing.sources([int(self.kept[recording])])
        try:
            with opened_recording(source) as file:
                stop = min(stop, int(self.lengths[recording]))
                return self.form.mixed(part_of(file, self.form.rate, start, stop), file.channels).T
        except Unusable as reason:
            hint = "it was whole when the data was first opened; restore it, or run the command again to have it set aside"
            where = self.listing.names[int(self.kept[recording])]
            raise UserError(f"a recording can no longer be read: {reason}", where=where, hint=hint) from None


def stored_recordings(listing: Listing, reading: RecordingReading, *, cache_dir: str | Path | None, progress: Progress | None) -> Store:
    """The recordings of a listing as this reading wants them: decoded now, or found in the cache. Raises UserError as `Entry.build` does."""
    limit = cache_limit()
    asked = (FORMAT, listing.kind, reading.rate, reading.channels, listing.identity())
    parent = cache_folder(cache_dir) / "recordings"
    for keep in (True, False):
        entry = RecordingEntry(listing, reading, keep, parent / digest((*asked, keep)))
        if (store := entry.load()) is not None or (keep and entry.needed <= limit) or not keep:
            break
    return store or entry.build(limit, progress)


@dataclass(frozen=True, eq=False)
class RecordingEntry(Entry[Store]):
    """The recordings of one listing. keep: with their samples."""

    noun, plural = "recording", "recordings"

    listing: Listing
    reading: RecordingReading
    keep: bool
    folder: Path

    @cached_property
    def heads(self) -> list[Head | str]:
        """What each file says of itself, or why it cannot be opened."""
        return list(pool_map(self.head, range(len(self.listing.names))))

    @cached_property
    def form(self) -> tuple[Form, dict[int, str], tuple[str, ...]]:
        return survey(self.heads, self.reading, self.listing.kind == "sounds")

    def head(self, row: int) -> Head | str:
        if why := self.listing.faults.get(row):
            return why
        (source,) = self.listing.sources([row])
        try:
            with opened_recording(source) as file:
                return Head.of(file) if file.length else "it holds no samples"
        except Unusable as reason:
            return str(reason)

    @property
    def needed(self) -> int:
        if not self.keep:
            return 0
        form, _, _ = self.form
        heads = [head for head in self.heads if isinstance(head, Head)]
        return (
            sum(resampled_length(head.length, head.rate or form.rate, form.rate) for head in heads)
            * len(form.channels)
            * np.dtype(form.dtype).itemsize
        )

    def load(self) -> Store | None:
        try:
            meta = self.read_meta()
            if meta["format"] != FORMAT or len(meta["kept"]) + len(meta["broken"]) != len(self.listing.names):
                return None
            if not self.keep:
                return Undecoded(self.listing, meta)
            return Decoded(self.listing, meta, np.load(self.folder / "samples.npy", mmap_mode="r"))
        except (*DAMAGED_ARRAY, TypeError):
            return None

    def write(self, folder: Path, progress: Progress | None) -> list[tuple[int, str]]:
        """Small recordings are decoded in threads, long ones block by block, and written in order."""
        form, unfit, notes = self.form
        broken = {row: head for row, head in enumerate(self.heads) if isinstance(head, str)} | unfit
        total, lengths, short = len(self.listing.names), {}, []
        target = folder / "samples.npy" if self.keep else Path(os.devnull)
        with target.open("wb") as stream:
            start = write_header(stream, (total * 2**40, len(form.channels)), np.dtype(form.dtype))
            for row, blocks in self.decoded([row for row in range(total) if row not in broken]):
                begin, length = stream.tell() if self.keep else 0, 0
                try:
                    for block in blocks:
                        stream.write(block.T.tobytes())
                        length += block.shape[1]
                except Unusable as reason:
                    broken[row] = str(reason)
                if not length and row not in broken:
                    broken[row] = "it holds no samples"
                if row in broken:
                    rewind(stream, begin, self.keep)
                    continue
                lengths[row], head = length, self.heads[row]
                assert isinstance(head, Head)
                if length < resampled_length(head.length, head.rate or form.rate, form.rate):
                    short.append(f"{self.listing.names[row]} ({length / form.rate:.3g} s of {head.length / (head.rate or form.rate):.3g})")
                if progress is not None and (len(lengths) % TOGETHER == 0 or row + 1 == total):
                    progress(row + 1, total)
            if self.keep:
                rewrite_header(stream, (sum(lengths.values()), len(form.channels)), np.dtype(form.dtype), start)
        kept = sorted(lengths)
        heads: list[Any] = [self.heads[row] for row in kept]
        notes += notes_about([*(f"{name} ({why})" for name, why in self.said(heads, kept)), *short])
        self.write_meta(
            folder, form=form.to_dict(), kept=kept, lengths=[lengths[row] for row in kept], notes=notes, broken=sorted(broken.items()),
            events=[[(event.onset, event.duration, event.name) for event in head.events] for head in heads],
            breaks=[[resampled_length(place, head.rate or form.rate, form.rate) for place in head.breaks] for head in heads],
            headers=[dict(head.header) for head in heads],
        )  # fmt: skip
        return sorted(broken.items())

    def said(self, heads: Sequence[Head], kept: Sequence[int]) -> Iterator[tuple[str, str]]:
        for row, head in zip(kept, heads, strict=True):
            yield from ((self.listing.names[row], note) for note in head.notes)

    def decoded(self, rows: Sequence[int]) -> Iterator[tuple[int, Iterator[np.ndarray] | list[np.ndarray]]]:
        """Each of these recordings in blocks (channels, time) as they are stored, in order."""
        form, _, _ = self.form

        def all_blocks(row: int) -> list[np.ndarray] | Unusable:
            try:
                return list(self.blocks(row, form))
            except Unusable as reason:
                return reason

        def work(rows: list[int]) -> list[list[np.ndarray] | Unusable]:
            return [all_blocks(row) for row in rows]

        tasks = iter(self.tasks(rows))
        with quiet(), contextlib.ExitStack() as stack:
            workers = os.cpu_count() or 1
            pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
            stack.callback(pool.shutdown, cancel_futures=True)
            waiting: deque[tuple[list[int], Future[Any] | None]] = deque()

            def submit(count: int) -> None:
                for task in itertools.islice(tasks, count):
                    waiting.append((task, None if len(task) == 1 and self.long(task[0]) else pool.submit(work, task)))

            submit(2 * workers)
            while waiting:
                task, future = waiting.popleft()
                if future is None:
                    yield task[0], self.blocks(task[0], form)
                else:
                    for row, result in zip(task, future.result(), strict=True):
                        yield row, raising(result) if isinstance(result, Unusable) else result
                submit(1)

    def tasks(self, rows: Sequence[int]) -> Iterator[list[int]]:
        """Some recordings each; a long one by itself."""
        task: list[int] = []
        for row in rows:
            if task and (self.long(row) or len(task) == TOGETHER):
                yield task
                task = []
            task.append(row)
            if self.long(row):
                yield task
                task = []
        if task:
            yield task

    def long(self, row: int) -> bool:
        head = self.heads[row]
        return isinstance(head, Head) and head.length * len(head.channels) > SMALL // TOGETHER

    def blocks(self, row: int, form: Form) -> Iterator[np.ndarray]:
        (source,) = self.listing.sources([row])
        with opened_recording(source) as file:
            yield from stored_blocks(file, form)


def pool_map(function: Callable[[int], Any], rows: Iterable[int]) -> Iterator[Any]:
    with quiet(), ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="open") as pool:
        yield from pool.map(function, rows)


def stored_blocks(file: RecordingFile, form: Form) -> Iterator[np.ndarray]:
    """A recording in blocks (channels, time) as numbers of the store. Raises Unusable where a sound holds numbers that are not finite."""
    for block in blocks_of(file, form.rate):
        mixed = form.mixed(block, file.channels)
        if form.sound and not np.isfinite(mixed).all():
            raise Unusable("some of its numbers are not finite")
        yield np.rint(mixed * LOUD).clip(-LOUD, LOUD - 1).astype(np.int16) if form.dtype == "int16" else mixed.astype(np.float32)


def raising(reason: Unusable) -> Iterator[np.ndarray]:
    raise reason
    yield


def rewind(stream: BinaryIO, place: int, keep: bool) -> None:
    """Forget what was written behind a place."""
    if keep:
        stream.seek(place)
        stream.truncate()


def notes_about(files: Sequence[str]) -> tuple[str, ...]:
    more = f" and {len(files) - NAMED:,} more" if len(files) > NAMED else ""
    return (f"{len(files):,} unusual: {', '.join(files[:NAMED])}{more}",) if files else ()
