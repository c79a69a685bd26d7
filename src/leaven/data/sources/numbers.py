"""Columns of a table side by side as vectors: numbers, lists of numbers, truth values, and categories as one number each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from leaven.data.batch import content_hashes
from leaven.data.labels import MISSING, LabelReading, Labels, sort_names
from leaven.data.sources.folders import listed
from leaven.data.sources.listing import Listing, Part
from leaven.data.sources.time_columns import time_notes
from leaven.data.splits import rows_to_train_on, split_rows
from leaven.errors import UserError
from leaven.modalities import Vector

if TYPE_CHECKING:
    import pyarrow as pa

    from leaven.data.sources.columns import Columns

ABSENT = MISSING | {"?", "-", "--", ".", "none", "missing", "unknown"}
TRUTH = {"true": 1.0, "false": 0.0}
NUMBERS = 0.9  # share of the values of a column that must be numbers; the others are missing
JUDGED = 100  # cells by which texts are known without a look at all of them
MOST_CATEGORIES = 50
AGAIN = 3  # how often the values of categories come again, on average
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")
DECIMAL_COMMA = re.compile(r"^([+-]?\d+),(\d+)$")
DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([T ].*)?")
LARGEST = float(np.finfo(np.float32).max)


def numbers_in(cell: Any) -> list[float] | None:
    """The numbers of one cell, such as 3, true, "1,200" or "[0.1, 0.2]"; none where it is missing; None where it holds anything else."""
    if cell is None:
        return []
    if isinstance(cell, str):
        text = cell.strip()
        if text.lower() in ABSENT:
            return []
        if text.lower() in TRUTH:
            return [TRUTH[text.lower()]]
        if THOUSANDS.fullmatch(text):
            return [float(text.replace(",", ""))]
        text = text[1:-1] if text[0] + text[-1] in ("[]", "()") else DECIMAL_COMMA.sub(r"\1.\2", text)
        cell = [part for part in re.split(r"[,;\s]+", text) if part]
    try:
        return [float(number) for number in cell] if isinstance(cell, list | tuple | np.ndarray) else [float(cell)]
    except (TypeError, ValueError):
        return None


def numbers_of(cells: Sequence[Any]) -> np.ndarray | None:
    """(N, D) float64 of N cells of D numbers, NaN where a cell is missing; None where they hold no numbers, or mostly not so many."""
    with suppress(TypeError, ValueError):
        if not any(isinstance(cell, str | bytes) for cell in cells):
            return as_matrix(np.asarray(cells, dtype=np.float64))
    if None in (judged := [numbers_in(cell) for cell in cells[:JUDGED]]) and 2 * judged.count(None) > sum(numbers != [] for numbers in judged):
        return None
    found = [numbers_in(cell) for cell in cells]
    sizes = Counter(len(numbers) for numbers in found if numbers)
    present = sum(numbers is None or len(numbers) > 0 for numbers in found)
    size, count = sizes.most_common(1)[0] if sizes else (1, 0)
    if not count or count < NUMBERS * present:
        return None
    absent = [np.nan] * size
    return as_matrix(np.array([numbers if numbers and len(numbers) == size else absent for numbers in found]))


def as_matrix(array: np.ndarray) -> np.ndarray | None:
    """(N, D), with NaN for what is not finite in float32; None where no number is left."""
    matrix = array[:, None] if array.ndim == 1 else array
    if matrix.ndim != 2:
        return None
    matrix = np.where(np.abs(matrix) <= LARGEST, matrix, np.nan)
    return matrix if np.isfinite(matrix).any() else None


def numbers_of_arrow(column: pa.ChunkedArray) -> np.ndarray | None:
    """The same of a column of Arrow, without a Python object per number where there is no need."""
    import pyarrow as pa
    import pyarrow.compute
    import pyarrow.types as types

    kind = column.type
    if is_list_of_numbers(kind) and len(column) and not column.null_count:
        lengths = {kind.list_size} if types.is_fixed_size_list(kind) else {*pa.compute.list_value_length(column).unique().to_pylist()}
        if len(lengths) == 1 and 0 not in lengths:
            flat = pa.chunked_array([chunk.flatten() for chunk in column.chunks], kind.value_type)
            return as_matrix(flat.to_numpy().astype(np.float64).reshape(len(column), -1))
    if types.is_integer(kind) or types.is_floating(kind):
        return as_matrix(column.to_numpy().astype(np.float64))
    return numbers_of(column.to_pylist())


def is_number(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    return types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind)


def is_list_of_numbers(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    return (types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)) and is_number(kind.value_type)


def categories_of(cells: Sequence[Any]) -> list[str | None]:
    """The texts of a column of categories; None where one is missing."""
    texts = [None if cell is None else str(cell).strip() for cell in cells]
    return [None if text is None or text.lower() in MISSING else text for text in texts]


def are_categories(cells: Sequence[Any]) -> bool:
    """Whether the values are few texts that come again, and no dates."""
    texts = [text for text in categories_of(cells) if text is not None]
    different = set(texts)
    return 1 < len(different) <= min(MOST_CATEGORIES, len(texts) / AGAIN) and not all(map(DATE.fullmatch, different))


def are_dates(cells: Sequence[Any]) -> bool:
    texts = [text for text in categories_of(cells) if text is not None]
    return bool(texts) and all(map(DATE.fullmatch, texts))


def number_words(cells: Sequence[Any]) -> float:
    """The median number of words in the cells that are not empty. Two characters of Chinese or Japanese count as one word."""
    counts = [len(re.findall(r"[\u3040-\u9fff]{2}|\w+", cell)) for cell in cells if isinstance(cell, str) and cell.strip()]
    return float(np.median(counts)) if counts else 0.0


@dataclass(frozen=True, eq=False)
class Vectors(Listing):
    """Columns of a table side by side, each sample a vector.

    known: how each of the columns was read when an encoder was trained: {"column", and "median" (a number for each of its numbers) or "categories"}.
    What is missing among numbers is replaced by the median of the training split; a missing or new category is all zeros.
    """

    table: Columns
    columns: tuple[str, ...]
    known: Sequence[Mapping[str, Any]] | None = None

    kind = "numbers"

    @property
    def root(self) -> Path | str:  # type: ignore[override]
        return self.table.root

    @property
    def names(self) -> Sequence[str]:  # type: ignore[override]
        return self.table.names

    @property
    def notes(self) -> tuple[str, ...]:  # type: ignore[override]
        return (*self.table.notes, *self.read[2], *time_notes(self.table, self.columns))

    def splits(self) -> list[str | None]:
        return self.table.splits()

    def labels(self, spec: str | Path | None, how: LabelReading | None = None) -> Labels:
        return self.table.labels(spec, how)

    def groups(self) -> Tensor:
        return self.table.groups()

    @cached_property
    def train(self) -> np.ndarray:
        """(N,) bool: the rows to train on that can be used."""
        rows = np.zeros(len(self.names), bool)
        rows[rows_to_train_on(split_rows(self.splits()), len(rows)).numpy()] = True
        rows[list(self.table.faults)] = False
        return rows if rows.any() else np.ones(len(rows), bool)

    @cached_property
    def read(self) -> tuple[Part, list[dict[str, Any]], tuple[str, ...]]:
        """The samples; how each column was read, as in `known`; and notes for the user."""
        blocks, reading, present = [], [], np.zeros(len(self.names), bool)
        one_hot, filled, unknown = [], {}, {}
        for place, column in enumerate(self.columns):
            known = self.known[place] if self.known else {}
            numbers = None if "categories" in known else self.table.numbers(column)
            if numbers is None and "median" in known and not self.is_empty(column):
                raise UserError(f"the column {column!r} holds no numbers, which this encoder reads there", where=self.table.place)
            if numbers is None and "median" not in known:
                texts = categories_of(self.table.values(column))
                names = known.get("categories") or self.categories(column, texts)
                one_hot.append(f"{column} ({listed(names)})")
                reading.append({"column": known.get("column", column), "categories": list(names)})
                if new := sorted({text for text in texts if text is not None}.difference(names)):
                    unknown[column] = new
                index = {name: number for number, name in enumerate(names)}
                row_of = np.array([-1 if text is None else index.get(text, -1) for text in texts])
                blocks.append(np.eye(len(names))[row_of] * (row_of >= 0)[:, None])
                present |= row_of >= 0
                continue
            median = known.get("median")
            if numbers is None:
                numbers = np.full((len(self.names), len(median or ())), np.nan)
            with np.errstate(all="ignore"):
                rows = numbers[self.train & ~np.isnan(numbers).all(1)]
                median = np.nanmedian(rows if len(rows) else numbers[~np.isnan(numbers).all(1)], axis=0).tolist() if median is None else median
            if len(median) != numbers.shape[1]:
                what = f"the column {column!r} holds {numbers.shape[1]} numbers per row, and this encoder reads {len(median)} there"
                raise UserError(what, where=self.table.place)
            gaps = np.isnan(numbers)
            present |= ~gaps.all(1)
            if gaps.any():
                filled[column] = gaps.any(1)
            blocks.append(np.where(gaps, median, numbers))
            reading.append({"column": known.get("column", column), "median": median})
        broken = [(row, self.fault(row)) for row in np.flatnonzero(~present).tolist()]
        broken += [(row, why) for row, why in self.table.faults.items() if present[row]]
        kept = np.delete(np.arange(len(present)), [row for row, _ in broken])
        alone = len(reading) == 1 and len(reading[0].get("median", ())) == 1
        vectors = Vector(torch.from_numpy(np.concatenate(blocks, 1)[kept]).float(), {} if alone else {"table": reading})
        notes = [f"one number per category: {listed(one_hot)}; --labels COLUMN makes a column the labels"] if one_hot else []
        counts = {column: int(rows[kept].sum()) for column, rows in filled.items() if rows[kept].any()}
        if counts:
            named = listed([f"{count:,} in {column}" for column, count in counts.items()])
            notes.append(f"{sum(counts.values()):,} missing values are replaced by the medians of the training part: {named}")
        notes += [f"the category {new[0]!r} of {column} is new to this encoder, which reads it as none" for column, new in unknown.items()]
        return Part(vectors, kept, sorted(broken), content_hashes({"x": vectors})), reading, tuple(notes)

    def categories(self, column: str, texts: Sequence[str | None]) -> Sequence[str]:
        """Those of the training rows, in order. Raises UserError where the column holds something else."""
        kind = self.table.holds(column)
        names = sort_names({text for text, train in zip(texts, self.train, strict=True) if train and text is not None})
        if kind == "text" and 0 < len(names) <= MOST_CATEGORIES:
            return names
        what = f"{len(names):,} different texts" if kind == "text" else kind or str(self.table.arrow_type(column))
        raise UserError(f"the column {column!r} holds {what}, neither numbers nor up to {MOST_CATEGORIES} categories", where=self.table.place)

    def is_empty(self, column: str) -> bool:
        return all(text is None or text.lower() in ABSENT for text in categories_of(self.table.values(column)))

    def fault(self, row: int) -> str:
        """Why a row without any value cannot be used."""
        if why := self.table.faults.get(row):
            return why
        if len(self.columns) > 1:
            return "all its values are missing"
        cell = self.table.values(self.columns[0])[row]
        return "no number" if numbers_in(cell) == [] else f"{cell!r} is no number"
