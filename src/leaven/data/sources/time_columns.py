"""Columns of a table that hold the time: gaps in it, and rows out of order."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from leaven.data.sources.columns import Columns

FEWEST, RISING, EVEN, GAP = 20, 0.9, 3.0, 5.0
"""Rows; share of the steps that go forward; how many times as long the long ones of these are as the short ones; median steps that make a gap."""


def time_notes(table: Columns, inputs: Collection[str]) -> list[str]:
    """What is unusual in the columns that rise evenly from row to row, as time does. inputs: the columns that samples are made of."""
    notes = []
    starts = np.cumsum([0, *table.parts.values()])[1:-1]  # no step leads from one file to the next
    for column in table.column_names():
        kind = table.holds(column)
        numbers = seconds(table.values(column)) if kind == "dates" else table.numbers(column) if kind == "numbers" else None
        if numbers is None or (steps := steps_of(numbers, starts)) is None:
            continue
        usual, dated = float(np.nanmedian(steps)), kind == "dates"
        if len(gaps := np.flatnonzero(steps > GAP * usual)):
            longest = int(gaps[steps[gaps].argmax()])
            length = duration(steps[longest], dated)
            count = "a gap" if len(gaps) == 1 else f"{len(gaps):,} gaps, the longest"
            where = f"before {table.names[longest + 1]}; steps are {duration(usual, dated)}"
            notes.append(f"the time in the column {column} has {count} of {length} {where}")
        if len(back := np.flatnonzero(steps < 0)):
            often = "once" if len(back) == 1 else f"{len(back):,} times"
            notes.append(f"the time in the column {column} goes back {often}, first at {table.names[int(back[0]) + 1]}")
        if column in inputs:
            notes.append(f"the column {column} rises evenly as time does, and is an input as well: samples can be told apart by it alone")
    return notes


def steps_of(numbers: np.ndarray, starts: np.ndarray) -> np.ndarray | None:
    """From each row to the next, NaN from one file to the next; None where the column does not rise evenly. starts: of further files."""
    if numbers.ndim != 2 or numbers.shape[1] != 1 or len(numbers) < FEWEST:
        return None
    steps = np.diff(numbers[:, 0])
    steps[starts - 1] = np.nan
    forward = steps[steps > 0]
    if len(forward) < RISING * np.isfinite(steps).sum() or len(forward) < FEWEST - 1 - len(starts) or not len(forward):
        return None
    short, long = np.quantile(forward, [0.1, 0.9])
    return steps if long <= EVEN * short else None


def seconds(cells: Sequence[Any]) -> np.ndarray | None:
    """(N, 1) seconds of dates, NaN where one is missing; None where most cannot be read."""
    times = np.full((len(cells), 1), np.nan)
    for row, cell in enumerate(cells):
        try:
            date = datetime.fromisoformat(cell.strip()) if isinstance(cell, str) else cell
            times[row] = (date.replace(tzinfo=None) - (date.utcoffset() or timedelta()) - datetime(1970, 1, 1)).total_seconds()
        except (AttributeError, TypeError, ValueError):
            continue
    return times if 2 * np.isfinite(times).sum() > len(cells) else None


def duration(step: float, dated: bool) -> str:
    """A step in the units of its column."""
    return str(timedelta(seconds=float(step))) if dated else f"{step:g}"
