"""Folders of numbered pictures, read as recordings: the frames that follow each other without a gap."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leaven.data.order import LAST_NUMBER, in_order
from leaven.data.sources.described import described
from leaven.data.sources.folders import state_of
from leaven.data.sources.recordings import Recordings
from leaven.errors import UserError
from leaven.modalities.content import digest
from leaven.modalities.frame_files import FrameRun
from leaven.modalities.recording_formats import RecordingSource


@dataclass(frozen=True, eq=False)
class Sequences(Recordings):
    """Runs of frames, each a recording that goes by the name of its first frame.

    runs: the files of each; run_rows: their rows in the table. side: pixels of a frame's shorter side.
    """

    runs: tuple[tuple[str, ...], ...] = field(default=(), kw_only=True)
    run_rows: tuple[tuple[int, ...], ...] = field(default=(), kw_only=True)
    side: int = field(default=16, kw_only=True)

    def identity(self) -> str:
        root = self.root.resolve()
        return digest(("frames", self.side, [(str(root / file), state_of(root / file)) for file in run]) for run in self.runs)

    def sources(self, rows: Sequence[int]) -> list[RecordingSource]:  # type: ignore[override]
        return [FrameRun(tuple(self.root / file for file in self.runs[row]), self.side) for row in rows]

    def part_name(self, row: int, place: int, rate: float) -> str:
        return self.runs[row][place]

    def column_of(self, name: str) -> list[Any] | None:
        """What all frames of a run have in common; None where they differ."""
        values = None if self.table is None else self.table.column_of(name)
        return None if values is None else [common([values[row] for row in rows]) for rows in self.run_rows]


def common(values: Sequence[Any]) -> Any:
    return values[0] if len(set(values)) == 1 else None


def sequences(root: Path, pictures: Sequence[str], tables: Sequence[str], side: int) -> tuple[Sequences, list[str]]:
    """(the runs of these pictures, with what a table beside them says of the frames; all files in use).

    A run ends with its folder, where the names differ in more than their last number, where a number is missing, and where another split begins.
    """
    table = described(root, pictures, tables)
    files = tuple(pictures) if table is None else tuple(table.values("file"))
    order, series = in_order(files)
    files, rows = tuple(files[place] for place in order), order.tolist()
    split_of_row = None if table is None else table.column_of("split")
    splits = Recordings(root, files).splits_by_folder if split_of_row is None else [split_of_row[row] for row in rows]
    numbers = [number_of(file) for file in files]
    pairs = list(itertools.pairwise(range(len(files))))
    steps = Counter(numbers[b] - numbers[a] for a, b in pairs if series[a] == series[b])
    if not steps:
        raise UserError(
            "no two pictures here are numbered frames of one sequence", where=root, hint="name them as 001.jpg, 002.jpg, or leave frames out"
        )
    step = max(steps, key=lambda step: (steps[step], -step))
    joined = [series[a] == series[b] and numbers[b] - numbers[a] == step and splits[a] == splits[b] for a, b in pairs]
    starts = [0, *(b for (_, b), together in zip(pairs, joined, strict=True) if not together)]
    bounds = list(itertools.pairwise([*starts, len(files)]))
    gaps = sum(bool(series[a] == series[b]) and numbers[b] - numbers[a] != step for a, b in pairs)
    between = f", {gaps:,} gap{'s' * (gaps > 1)} between numbers" if gaps else ""
    note = f"{len(files):,} numbered frames, {step} apart, in {len(bounds):,} run{'s' * (len(bounds) > 1)}, which no sample leaves{between}"
    runs = tuple(files[low:high] for low, high in bounds)
    used = [*files, *(() if table is None else table.files)]
    return Sequences(
        root, tuple(run[0] for run in runs), kind="signals", table=table, table_rows=tuple(rows[low] for low, _ in bounds), runs=runs,
        run_rows=tuple(tuple(rows[low:high]) for low, high in bounds), side=side, notes=(note,),
    ), used  # fmt: skip


def number_of(file: str) -> int:
    """The last number in a name; -1 where there is none."""
    match = LAST_NUMBER.fullmatch(file)
    return int(match[2]) if match else -1
