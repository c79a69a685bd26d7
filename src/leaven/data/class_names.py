"""Better names for classes and tags that are codes: from a `classes.csv` beside the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from leaven.data.labels import Labels
from leaven.data.sources.text_files import read_delimited
from leaven.errors import UserError

FILE = "classes.csv"
NAMES = ("name", "class_name", "label_name", "names", "class", "label", "title", "description")


def with_names(labels: Labels, places: Sequence[Path]) -> tuple[Labels, tuple[str, ...]]:
    """The labels by the names of the first `classes.csv` in these folders that has a name for each code, and the codes; unchanged, and none, where
    there is no such file."""
    for path in (place / FILE for place in places):
        if not labels.names or not path.is_file():
            continue
        try:
            columns = read_delimited(path).columns
        except UserError:
            continue
        if (names := names_for(labels.names, columns)) is not None:
            note = f"names are those of {FILE}: {labels.names[0]} is {names[0]}"
            return replace(labels, names=names, notes=(*labels.notes, note)), labels.names
    return labels, ()


def names_for(codes: Sequence[str], columns: Mapping[str, Sequence[str]]) -> tuple[str, ...] | None:
    """The names beside a column that holds every code once; None where there is none, or two codes have one name, or a code has none."""
    cells = {name.lower(): [cell.strip() for cell in column] for name, column in columns.items()}
    named = next((name for name in NAMES if name in cells), None)
    for column, keys in cells.items():
        if named is None or column == named or not set(codes) <= set(keys) or len(set(keys)) < len(keys):
            continue
        name_of = dict(zip(keys, cells[named], strict=True))
        names = tuple(name_of[code] for code in codes)
        if all(names) and len(set(names)) == len(names):
            return names
    return None
