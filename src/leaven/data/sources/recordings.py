"""Files of sound or signals, as folders and tables name them, and the rows of arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leaven.data import labels as labeling
from leaven.data.labels import LabelReading, Labels
from leaven.data.sources.folders import Folder
from leaven.modalities.recording_files import Unusable
from leaven.modalities.recording_formats import ArrayRow, RecordingSource
from leaven.modalities.signal_arrays import BESIDE, SignalArray, read_signal_array

if TYPE_CHECKING:
    from leaven.data.sources.columns import Columns


@dataclass(frozen=True, eq=False)
class Recordings(Folder):
    """Files of sound or signals below a root, a recording each; of arrays, a file comes once for each row that is a recording of its own.

    kind: "sounds" or "signals". table: what says more of them, in the rows `table_rows`. numbers: the rows of arrays; own_labels, own_columns: what
    their files say of each; layout: see `RecordingReading`.
    """

    kind: str = field(default="sounds", kw_only=True)
    table: Columns | None = field(default=None, kw_only=True)
    table_rows: tuple[int, ...] = field(default=(), kw_only=True)
    numbers: tuple[int, ...] = field(default=(), kw_only=True)
    own_labels: tuple[Any, ...] = field(default=(), kw_only=True)
    own_columns: Mapping[str, list[Any]] = field(default_factory=dict, kw_only=True)
    layout: str = field(default="auto", kw_only=True)
    faults: Mapping[int, str] = field(default_factory=dict, kw_only=True)
    notes: tuple[str, ...] = field(default=(), kw_only=True)

    @cached_property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        if len(set(self.files)) == len(self.files) or not self.numbers:
            return self.files
        return tuple(f"{file}#{number}" for file, number in zip(self.files, self.numbers, strict=True))

    def sources(self, rows: Sequence[int]) -> list[RecordingSource]:  # type: ignore[override]
        files = [self.root / self.files[row] for row in rows]
        return [ArrayRow(file, self.numbers[row], self.layout) for file, row in zip(files, rows, strict=True)] if self.numbers else list(files)

    def column_of(self, name: str) -> list[Any] | None:
        values = None if self.table is None else self.table.column_of(name)
        return self.own_columns.get(name) if values is None else [values[row] for row in self.table_rows]

    def known_names(self) -> list[str]:
        return [*super().known_names(), *([] if self.table is None else self.table.column_names())]

    def splits(self) -> list[str | None]:
        """By the table's column `split`, else by the folders' names."""
        column = self.column_of("split")
        return super().splits() if column is None else [None if value is None else str(value) for value in column]

    def labels(self, spec: str | Path | None, how: LabelReading | None = None) -> Labels:
        """None: those that the files hold beside their samples, the table's column of labels, or the folders; else a column's name, or what a folder
        takes."""
        if spec is None and any(label is not None for label in self.own_labels):
            return labeling.read(list(self.own_labels), how=how)
        column = (self.table.label_column() if self.table is not None else None) if spec is None else str(spec)
        values = None if column is None else self.column_of(column)
        return super().labels(spec, how) if values is None else labeling.of_cells(values, how=how)

    @classmethod
    def of_arrays(cls, root: Path, files: Iterable[str], layout: str, table: Columns | None, table_rows: Sequence[int]) -> Recordings:
        """Every row of arrays of samples, and every array that is one recording."""
        rows: list[tuple[str, int, Any, int]] = []
        columns: dict[str, list[Any]] = {name: [] for name in BESIDE}
        faults: dict[int, str] = {}
        notes: list[str] = []
        for name, place in zip(files, table_rows, strict=True):
            try:
                array = array_of(root / name, layout)
            except Unusable as reason:
                faults[len(rows)] = str(reason)
                rows.append((name, 0, None, place))
                for values in columns.values():
                    values.append(None)
                continue
            rows += [(name, number, None if array.labels is None else array.labels[number], place) for number in range(len(array.samples))]
            for column, values in columns.items():
                values += array.beside.get(column, [None] * len(array.samples))
            channels = array.samples.shape[1]
            if array.layout == "recording":
                notes.append(
                    f"an array is read as one recording of {channels} channel{'s' * (channels > 1)} (--set layout=samples: a sample per row)"
                )
            if array.unused:
                notes.append(f"arrays that are not used: {', '.join(array.unused)}")
        named, numbers, labels, places = zip(*rows, strict=True)
        columns = {name: values for name, values in columns.items() if any(value is not None for value in values)}
        return cls(
            root, named, kind="signals", table=table, table_rows=places, numbers=numbers, own_labels=labels, layout=layout, faults=faults,
            notes=tuple(dict.fromkeys(notes)), own_columns=columns,
        )  # fmt: skip


def array_of(path: Path, layout: str) -> SignalArray:
    try:
        return read_signal_array(path, layout, path.stat().st_mtime_ns)
    except OSError as error:
        raise Unusable(f"it cannot be read: {error.strerror}") from None
