"""Texts in memory, and the files that hold them: lines of .txt, rows of .csv, .tsv and .jsonl, whole documents."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from leaven.data.sources.columns import Columns
from leaven.data.sources.folders import Folder
from leaven.data.splits import split_of
from leaven.errors import UserError
from leaven.modalities import LazyTensor

if TYPE_CHECKING:
    import pyarrow as pa

DOCUMENTS, LINES = (".txt", ".text", ".md"), (".csv", ".tsv", ".jsonl")


class Strings(LazyTensor):
    """(N,) texts in one piece of memory."""

    dtype = torch.uint8

    def __init__(self, array: pa.LargeStringArray):
        self.array, self.shape = array, torch.Size([len(array)])

    @classmethod
    def of(cls, texts: Iterable[str]) -> Strings:
        import pyarrow as pa

        return cls(pa.array(texts, pa.large_string()))

    def __getitem__(self, index: Tensor | slice) -> Strings:  # type: ignore[override]
        rows = torch.arange(len(self))[index] if isinstance(index, slice) else index
        return self.take(rows.cpu().numpy())

    def take(self, rows: np.ndarray) -> Strings:
        return Strings(self.array.take(np.flatnonzero(rows) if rows.dtype == bool else rows))

    def cat(self, parts: Sequence[Strings]) -> Strings:
        import pyarrow as pa

        return Strings(pa.concat_arrays([part.array for part in parts]))

    def tolist(self) -> list[str]:
        return self.array.to_pylist()

    def __iter__(self) -> Iterator[str]:
        return iter(self.tolist())

    @property
    def nbytes(self) -> int:
        return self.array.nbytes


@dataclass(frozen=True, eq=False)
class Lines(Columns):
    """Files of one sort below a root, a sample a row: .csv, .tsv and .jsonl with named columns, .txt with the one column `text`.

    Blank lines of .txt are no rows. rows: of each file, how many; column: the one that plays a role.
    """

    root: Path
    files: tuple[str, ...]
    columns: dict[str, list[Any]]
    rows: tuple[int, ...]
    column: str = ""

    @classmethod
    def read(cls, root: Path, files: Sequence[str]) -> Lines:
        """Raises UserError for a file that cannot be read, or whose columns differ from those of the first."""
        columns: dict[str, list[Any]] = {}
        counts: list[int] = []
        for name in files:
            found = READERS[Path(name).suffix.lower()](root / name)
            if counts and list(found) != list(columns):
                what = f"its columns ({', '.join(found)}) differ from those of {files[0]} ({', '.join(columns)})"
                raise UserError(what, where=root / name, hint="give files of the same columns")
            for column, values in found.items():
                columns.setdefault(column, []).extend(values)
            counts.append(len(next(iter(found.values()))))
        return cls(root, tuple(files), columns, tuple(counts))

    @cached_property
    def names(self) -> Sequence[str]:  # type: ignore[override]
        """`file.csv#row` for each row."""
        return [f"{name}#{row}" for name, count in zip(self.files, self.rows, strict=True) for row in range(count)]

    def with_column(self, column: str) -> Lines:
        return Lines(self.root, self.files, self.columns, self.rows, column)

    def column_names(self) -> list[str]:
        return list(self.columns)

    def holds(self, column: str) -> str:
        values = [value for value in self.columns[column] if value not in (None, "")]
        if values and all(isinstance(value, int | float) or (isinstance(value, str) and is_number(value)) for value in values):
            return "numbers"
        return "text" if all(isinstance(value, str) for value in values) else ""

    def kind_of(self, column: str) -> str:
        kinds = {type(value).__name__ for value in self.columns[column] if value is not None}
        return " and ".join(sorted(kinds)) or "nothing"

    def holds_classes(self, column: str) -> bool:
        return all(value is None or isinstance(value, str | int) for value in self.columns[column])

    def class_names(self, column: str) -> Sequence[str]:
        return ()

    def values(self, column: str) -> list[Any]:
        return self.columns[column]

    def usual_splits(self) -> list[str | None]:
        """By the files' names (`train.csv`, `test-asr.csv`)."""
        return [split_of(name) for name, count in zip(self.files, self.rows, strict=True) for _ in range(count)]


@dataclass(frozen=True, eq=False)
class Documents(Folder):
    """Text files below a root, each a sample."""

    kind = "text"

    def contents(self) -> list[str]:
        return [read_text(self.root / name) for name in self.names]


def is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


# --- reading ---


def read_lines(path: Path) -> dict[str, list[Any]]:
    return {"text": [line for line in lines_of(path) if line.strip()]}


def read_delimited(path: Path) -> dict[str, list[Any]]:
    """The first line names the columns, unless it holds a number: they are then called 1, 2, ... LazyTensor shorter than that are filled up by "".

    Quotes are plain characters in .tsv files.
    """
    tabs = path.suffix.lower() == ".tsv"
    csv.field_size_limit(sys.maxsize)
    try:
        found = csv.reader(
            io.StringIO(read_text(path), newline=""), delimiter="\t" if tabs else ",", quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL
        )
        rows = [row for row in found if row]
    except csv.Error as error:
        raise UserError(f"not a table that can be read: {error}", where=path, hint="a csv file whose first line names the columns") from error
    if not rows:
        raise UserError("the file is empty", where=path)
    headless = any(is_number(cell) for cell in rows[0])
    head, body = ([str(place + 1) for place in range(len(rows[0]))], rows) if headless else ([name.strip() for name in rows[0]], rows[1:])
    return {name: [row[place] if place < len(row) else "" for row in body] for place, name in enumerate(head)}


def read_jsonl(path: Path) -> dict[str, list[Any]]:
    """A JSON object a line; columns are the keys of all of them, and None where one lacks it."""
    found: list[dict[str, Any]] = []
    for number, line in enumerate(lines_of(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"line {number} is not JSON: {error}", where=path, hint="one JSON object a line") from None
        if not isinstance(row, dict):
            raise UserError(f"line {number} holds no JSON object", where=path, hint='such as {"text": "..."}')
        found.append(row)
    keys = dict.fromkeys(key for row in found for key in row)
    if not keys:
        raise UserError("the file is empty", where=path)
    return {key: [row.get(key) for row in found] for key in keys}


def lines_of(path: Path) -> list[str]:
    """Without their ends. Only \\n, \\r and \\r\\n end a line, which `str.splitlines` does not hold to."""
    return io.StringIO(read_text(path), newline=None).read().split("\n")


def read_text(path: Path) -> str:
    """The file's text; bytes that are not UTF-8 become lone surrogates, by which `as_text` knows them."""
    try:
        return path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=path) from error


READERS: dict[str, Callable[[Path], dict[str, list[Any]]]] = {
    **dict.fromkeys(DOCUMENTS, read_lines), ".csv": read_delimited, ".tsv": read_delimited, ".jsonl": read_jsonl,
}  # fmt: skip


def as_text(values: Sequence[Any]) -> tuple[dict[int, str], list[tuple[int, str]]]:
    """The texts by their rows; the other rows, and why they have none."""
    texts, broken = {}, []
    for row, value in enumerate(values):
        why = "no text" if not isinstance(value, str) else "empty" if not value.strip() else "" if encodes(value) else "not UTF-8"
        if why:
            broken.append((row, why))
        else:
            texts[row] = value
    return texts, broken


def as_numbers(values: Sequence[Any]) -> tuple[dict[int, float], list[tuple[int, str]]]:
    """The numbers by their rows; the other rows, and why they have none."""
    numbers, broken = {}, []
    for row, value in enumerate(values):
        number = float(value) if value is not None and is_number(str(value)) else math.nan
        if math.isfinite(number):
            numbers[row] = number
        else:
            broken.append((row, "no number" if value in (None, "") else f"{value!r} is no number"))
    return numbers, broken


def encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
