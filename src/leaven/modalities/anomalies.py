"""What a table of numbers holds that a recording should not: spikes, and stretches in which a column stands still."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

MOST_COLUMNS = 256
SPIKE = 10.0  # distances from the 5th to the 95th percentile, beyond these
SHORTEST, MOST_STILL, BY_CHANCE = 10, 0.5, 1e-3  # rows of a stretch; share of the rows that stand still; stretches as long that chance may give
TAIL = 0.05


def anomalies(numbers: Tensor, columns: Sequence[str], files: Sequence[str]) -> dict[str, Any]:
    """{spikes: {count, columns: {name: count}, first: {column, file, value}}, still: {count, columns, longest: {column, file, rows, value}}}, each
    None where there are none. Of tables of up to 256 columns.

    numbers: (rows, columns), in their order. columns, files: the names of columns and rows.
    """
    if numbers.shape[1] > MOST_COLUMNS:
        return {"spikes": None, "still": None}
    spikes, still = [], []
    for name, column in zip(columns, numbers.double().numpy().T, strict=True):
        spikes += [(int(row), name, float(column[row])) for row in np.flatnonzero(spikes_of(column))]
        still += [(int(length), int(start), name, float(column[start])) for start, length in still_stretches(column)]
    report: dict[str, Any] = {"spikes": None, "still": None}
    if spikes:
        row, column, value = min(spikes)
        counts = {name: sum(spike[1] == name for spike in spikes) for name in columns}
        report["spikes"] = {"count": len(spikes), "columns": present(counts), "first": {"column": column, "file": named(files, row), "value": value}}
    if still:
        length, start, column, value = max(still, key=lambda stretch: stretch[:2])
        counts = {name: sum(stretch[2] == name for stretch in still) for name in columns}
        longest = {"column": column, "file": named(files, start), "rows": length, "value": value}
        report["still"] = {"count": len(still), "columns": present(counts), "longest": longest}
    return report


def spikes_of(column: np.ndarray) -> np.ndarray:
    """(rows,) bool: the values that lie far beyond the others, in a column of which less than half are equal."""
    low, middle, high = np.quantile(column, [TAIL, 0.5, 1 - TAIL])
    reach = SPIKE * (high - low) if high > low and (column == middle).mean() < MOST_STILL else np.inf
    return (column < low - reach) | (column > high + reach)


def still_stretches(column: np.ndarray) -> list[tuple[int, int]]:
    """(first row, rows) of stretches of one value that are longer than chance makes them, in a column that otherwise changes from row to row."""
    starts = np.flatnonzero(np.r_[True, column[1:] != column[:-1]])
    lengths = np.diff(np.r_[starts, len(column)])
    long = lengths >= SHORTEST
    others = len(column) - lengths[long].sum()
    if not long.any() or others < MOST_STILL * len(column):
        return []
    repeats = (lengths[~long] - 1).sum() / others
    stretches = []
    for start, length in zip(starts[long], lengths[long], strict=True):
        as_common = ((column == column[start]).sum() - length) / max(1, len(column) - length)
        if len(column) * max(repeats, as_common) ** (length - 1) < BY_CHANCE:
            stretches.append((start, length))
    return stretches


def lines(report: dict[str, Any]) -> list[str]:
    """The same in words."""
    told = []
    if spikes := report.get("spikes"):
        first = spikes["first"]
        where = f"the first in {first['column']} at {first['file']}: {first['value']:g}"
        told.append(f"{count_of(spikes['count'], 'spike')} far beyond all other values ({listed(spikes['columns'])}; {where})")
    if still := report.get("still"):
        longest = still["longest"]
        where = f"the longest in {longest['column']} from {longest['file']}: {longest['rows']:,} rows of {longest['value']:g}"
        told.append(f"{count_of(still['count'], 'constant stretch', 'constant stretches')} ({listed(still['columns'])}; {where})")
    return told


def present(counts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


def named(files: Sequence[str], row: int) -> str:
    return files[row] or f"#{row}"


def count_of(count: int, noun: str, nouns: str = "") -> str:
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def listed(counts: dict[str, int]) -> str:
    some = [f"{count:,} in {name}" for name, count in counts.items()]
    return ", ".join(some[:4]) + (f" and {len(some) - 4} more columns" if len(some) > 4 else "")
