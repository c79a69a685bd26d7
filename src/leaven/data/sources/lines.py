"""Columns in memory, from files of text or from lists; and documents, each file a sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from leaven.data.sources.columns import Columns
from leaven.data.sources.folders import Folder
from leaven.data.sources.text_files import READERS, read_text
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

    def arrow_type(self, column: str) -> pa.DataType:
        import pyarrow as pa

        kinds = {type(value) for value in self.columns[column] if not (value is None or (isinstance(value, str) and not value))}
        if kinds <= {str, int, bool} and (str in kinds or not kinds):
            return pa.string()
        for numbers, kind in (({bool}, pa.bool_()), ({int, bool}, pa.int64()), ({int, float}, pa.float64())):
            if kinds <= numbers:
                return kind
        try:
            return pa.infer_type(self.columns[column])
        except pa.ArrowException:  # values of several kinds
            return pa.string() if str in kinds else pa.null()


def table_of(source: Any) -> Lines | None:
    """A structured array, or a data frame (of pandas, polars or Arrow), as a table in memory; None for anything else.

    Raises UserError where a table cannot be read, such as one with two columns of one name.
    """
    if isinstance(source, np.ndarray) and source.dtype.names:
        source = source.reshape(-1)
        parts = {name: source[name] for name in source.dtype.names}
        texts = {name: np.char.decode(part, "utf-8", "surrogateescape") for name, part in parts.items() if part.dtype.kind == "S"}
        columns = {name: texts.get(name, part).tolist() for name, part in parts.items()}
    elif hasattr(source, "columns") and hasattr(source, "__arrow_c_stream__"):
        names = [str(name) for name in getattr(source, "column_names", source.columns)]
        if len(set(names)) < len(names):
            raise UserError("two columns of this table have the same name", where=type(source).__name__, hint=f"the columns are {', '.join(names)}")
        if hasattr(source, "notna"):  # of pandas, whose columns may hold values of several kinds
            columns = dict(zip(names, source.astype(object).where(source.notna(), None).to_dict("list").values(), strict=True))
        else:
            import pyarrow as pa

            columns = pa.table(source).to_pydict()
    else:
        return None
    if not columns:
        raise UserError("this table has no columns", where=type(source).__name__)
    return Lines("table", ("",), columns, (len(next(iter(columns.values()))),))


@dataclass(frozen=True, eq=False)
class Documents(Folder):
    """Text files below a root, each a sample."""

    kind = "text"

    def contents(self) -> list[str]:
        return [read_text(self.root / name)[0] for name in self.names]
