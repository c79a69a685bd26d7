"""Recordings with what a table beside them says of each: classes, speakers, sessions, splits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from leaven.data.label_files import FILE_COLUMNS
from leaven.data.sources.lines import Lines
from leaven.data.sources.recordings import Recordings
from leaven.errors import UserError

DESCRIBED = 0.5  # share of the recordings that a table must name, to be what describes them


def described(root: Path, files: Sequence[str], tables: Sequence[str]) -> Lines | None:
    """The table that says something of most of these files, by a column of their names; None where there is none."""
    for name in tables:
        try:
            table = Lines.read(root, [name])
        except UserError:
            continue
        column = next((column for column in table.columns if column.strip().lower() in FILE_COLUMNS), None)
        if column is None:
            continue
        named = {str(value).strip().replace("\\", "/") for value in table.values(column)}
        if len(named & set(files)) >= DESCRIBED * len(files):
            return Lines(
                root, table.files, {**table.columns, "file": [str(value).strip().replace("\\", "/") for value in table.values(column)]}, table.counts
            )
    return None


def recordings(root: Path, files: Sequence[str], kind: str, tables: Sequence[str], layout: str | None = None) -> tuple[Recordings, list[str]]:
    """(these files, with what a table beside them says of them; all files in use). layout: of arrays."""
    table = described(root, files, tables)
    names = tuple(files) if table is None else tuple(table.values("file"))
    rows, used = tuple(range(len(names))), [*names, *(() if table is None else table.files)]
    if layout is not None:
        return Recordings.of_arrays(root, names, layout, table, rows), used
    return Recordings(root, names, kind=kind, table=table, table_rows=rows if table is not None else ()), used
