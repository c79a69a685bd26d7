"""Columns in memory, from files of text or from lists; and documents, each file a sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leaven.data.sources.columns import Columns
from leaven.data.sources.folders import Folder
from leaven.data.sources.text_files import READERS, is_number, read_text
from leaven.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, eq=False)
class Lines(Columns):
    """Files of one sort below a root, one row per sample: .csv, .tsv and .jsonl with named columns, .txt with the one column `text`.

    Blank lines of .txt are no rows. counts: rows per file; column: the one that plays a role; faults, notes: see `Cells`.
    """

    root: Path | str
    files: tuple[str, ...]
    columns: dict[str, list[Any]]
    counts: tuple[int, ...]
    column: str = ""
    faults: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, root: Path, files: Sequence[str]) -> Lines:
        """Raises UserError for a file that cannot be read, or whose columns differ from those of the first."""
        columns: dict[str, list[Any]] = {}
        counts: list[int] = []
        faults: dict[int, str] = {}
        notes: tuple[str, ...] = ()
        for name in files:
            read = READERS[Path(name).suffix.lower()](root / name)
            if counts and list(read.columns) != list(columns):
                what = f"its columns ({', '.join(read.columns)}) differ from those of {files[0]} ({', '.join(columns)})"
                raise UserError(what, where=root / name, hint="give files of the same columns")
            for column, values in read.columns.items():
                columns.setdefault(column, []).extend(values)
            faults |= {sum(counts) + row: why for row, why in read.faults.items()}
            notes += read.notes
            counts.append(len(next(iter(read.columns.values()))))
        return cls(root, tuple(files), columns, tuple(counts), faults=faults, notes=notes)

    @property
    def parts(self) -> dict[str, int]:
        return dict(zip(self.files, self.counts, strict=True))

    def column_names(self) -> list[str]:
        return list(self.columns)

    def values(self, column: str) -> list[Any]:
        return self.columns[column]

    def holds(self, column: str) -> str:
        """Texts that are all numbers are numbers: the cells of a csv file are texts."""
        kind = super().holds(column)
        cells = [value for value in self.columns[column] if value] if kind == "text" else []
        return "numbers" if cells and all(isinstance(cell, str) and is_number(cell) for cell in cells) else kind

    def arrow_type(self, column: str) -> pa.DataType:
        import pyarrow as pa

        kinds = {type(value) for value in self.columns[column] if value not in (None, "")}
        if kinds <= {str, int, bool} and (str in kinds or not kinds):
            return pa.string()
        for numbers, kind in (({bool}, pa.bool_()), ({int, bool}, pa.int64()), ({int, float}, pa.float64())):
            if kinds <= numbers:
                return kind
        return pa.infer_type(self.columns[column])


@dataclass(frozen=True, eq=False)
class Documents(Folder):
    """Text files below a root, each a sample."""

    kind = "text"

    def contents(self) -> list[str]:
        return [read_text(self.root / name)[0] for name in self.names]
