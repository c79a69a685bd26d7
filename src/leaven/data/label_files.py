"""Labels in a file beside the data, as people and programs write them: which columns it has, and which sample each line is of."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from leaven.data.labels import SEVERAL_TAGS, LabelReading, Labels, are_binary, mark_between, mark_split, of_cells, of_columns, of_lists, read
from leaven.data.sources.text_files import Cells, encodes, read_delimited
from leaven.errors import UserError

FILE_COLUMNS = (
    "file", "filename", "file_name", "filepath", "file_path", "path", "image", "image_path", "image_file", "img", "picture", "photo", "document",
    "id", "image_id", "name",
)  # fmt: skip
LABEL_COLUMNS = ("label", "labels", "class", "classes", "category", "target", "diagnosis", "y", "label_name", "class_name")
TAG_COLUMNS = ("tags", "tag")
ABOUT_FILES = ("split", "group", "patient", "subject", "partition")
INDEX = ("", "unnamed: 0", "index")  # columns that pandas writes beside the data
HINT = "a labels file needs the columns file,label, or several columns of 0 and 1"


def read_labels(path: Path, files: Sequence[str], root: Path | None = None, how: LabelReading | None = None) -> Labels:
    """Labels of these files (relative paths below `root`; where samples come from no files, "", and a line's number from 0 names them: 17 or #17).

    Lines are matched by the first of these rules by which most of them find their file: the relative path; the same whatever the case and the form
    of accents; the same without endings. By each of them a longer path finds its file as well, if the name of the root stands before the rest, and
    so does a bare file name that occurs once. Lines of files that are not here are left out and counted where the labels are of a larger set.
    Several labels of a file are its tags, where that is usual or wanted.

    Raises UserError where columns are missing, a file is labeled twice differently, or more than a tenth of the lines and of the files find nothing.
    """
    how = how or LabelReading()
    table = read_delimited(path)
    if table.faults:
        raise UserError(next(iter(table.faults.values())), where=path, hint="put quotation marks around a cell that holds what separates cells")
    names, columns, headless = columns_of(table, path)
    if odd := next((cell for cells in columns.values() for cell in cells if not encodes(cell)), None):
        raise UserError(f"the label {odd!r} is not UTF-8", where=path, hint="save the file as UTF-8")
    rule, rows = best_rule([name.strip().replace("\\", "/") for name in names], files, root)
    if headless and rows[0] is None:  # it does name the columns
        names, columns, rows = names[1:], {name: cells[1:] for name, cells in columns.items()}, rows[1:]
    lines: list[list[int]] = [[] for _ in files]
    for line, row in enumerate(rows):
        if row is not None:
            lines[row].append(line)
    notes = table.notes if rule in (None, RULES[0][0]) else (*table.notes, f"the labels of {path.name} are matched by {rule}")
    if unknown := [name for name, row in zip(names, rows, strict=True) if row is None]:
        what = f"{len(unknown)} of {len(names)} labels match no file, for example {', '.join(unknown[:3])}"
        if 10 * len(unknown) > len(names) and 10 * sum(not found for found in lines) > len(files):
            same = [file for file in files if PurePosixPath(file).name == PurePosixPath(unknown[0]).name]
            if same:
                what += f" (the name of {len(same)} files, such as {same[0]})" if len(same) > 1 else f" ({same[0]} lies elsewhere)"
            raise UserError(what, where=path, hint=f"write paths relative to the data, such as {files[0] or '0'}")
        notes += (what,)
    labels = labels_of_lines(columns, lines, [file or f"#{row}" for row, file in enumerate(files)], path, how)
    return replace(labels, notes=(*notes, *labels.notes))


def labels_of_lines(
    columns: Mapping[str, Sequence[str]], lines: Sequence[Sequence[int]], files: Sequence[str], path: Path, how: LabelReading
) -> Labels:
    """columns: one of labels, or several of 0 and 1. lines: of each file."""
    contents = [list(dict.fromkeys(tuple(cells[line] for cells in columns.values()) for line in found)) for found in lines]
    several = [row for row, labels in enumerate(contents) if len(labels) > 1]
    different, together = len({label for labels in contents for label in labels}), sum(map(len, contents))
    often = len(several) > SEVERAL_TAGS * sum(map(bool, contents)) and different < together
    usual = how.labels == "tags" or (how.labels is None and often)
    if several and (not usual or len(columns) > 1):
        one, other = (", ".join(label) for label in contents[several[0]][:2])
        hint = "correct one of them" if len(columns) > 1 else "correct one of them; --set labels=tags reads several labels of a file as its tags"
        raise UserError(f"{files[several[0]]} is labeled twice: {one!r} and {other!r}", where=path, hint=hint)
    if len(columns) > 1:
        cells = {name: [labels[0][place] if labels else "" for labels in contents] for place, name in enumerate(columns)}
        labels = of_columns(cells, how)
        assert labels is not None
        return labels
    texts = [[text for (text,) in labels if text] for labels in contents]
    if not several:
        return of_cells([text[0] if text else None for text in texts], how=how)
    mark = mark_between([text for labels in texts for text in labels], how) if how.labels is None else ""
    return of_lists([[tag for text in labels for tag in (mark_split(text, mark) if mark else [text])] or None for labels in texts], how=how)


def columns_of(table: Cells, path: Path) -> tuple[list[str], dict[str, list[str]], bool]:
    """The cells that name files; the column of labels, or several columns of 0 and 1; and whether the first line, which should name the columns, was
    taken for one of them.

    Of two columns under other names, the first names the files.
    """
    columns = {name: cells for name, cells in table.columns.items() if name.lower() not in INDEX} or table.columns
    lower = {name.lower(): name for name in columns}
    file, label = (
        next((lower[name] for name in known if name in lower), None) for known in (FILE_COLUMNS, (*LABEL_COLUMNS, *TAG_COLUMNS, "keywords"))
    )
    if len(columns) == 2 and file is None and label is None:
        (first, names), (second, labels) = columns.items()
        return [first, *names], {second: [cell.strip() for cell in (second, *labels)]}, True
    if label is None and file is not None:
        others = {name: [cell.strip() for cell in cells] for name, cells in columns.items() if name != file and name.lower() not in ABOUT_FILES}
        telling = {name: cells for name, cells in others.items() if are_binary([cell.lower() for cell in cells])}
        if len(telling) > 1:
            return columns[file], telling, False
    if file is None or label is None:
        missing = " or ".join(repr(name) for name, column in (("file", file), ("label", label)) if column is None)
        raise UserError(f"no column {missing} in the labels; its columns are {', '.join(table.columns)}", where=path, hint=HINT)
    return columns[file], {label: [cell.strip() for cell in columns[label]]}, False


def chosen_labels(labels: Any, files: Sequence[str], where: str, names: Sequence[str] = (), how: LabelReading | None = None) -> Labels:
    """Labels as a user gives them for samples that have neither folders nor columns: classes, tags, or the path of a labels file."""
    if isinstance(labels, str | Path):
        if not is_labels_file(labels):
            raise UserError(f"labels {str(labels)!r} do not fit this data: it has no folders or columns", where=where, hint="give a csv file")
        return read_labels(Path(labels).expanduser(), files, how=how)
    return read(labels, names, how)


def is_labels_file(labels: str | Path) -> bool:
    return str(labels).lower().endswith((".csv", ".tsv"))


def as_is(path: str) -> str:
    return path.removeprefix("./").removeprefix("#")


def folded(path: str) -> str:
    """Without case, and with accents in one form."""
    return unicodedata.normalize("NFC", as_is(path)).casefold()


def stem(path: str) -> str:
    return os.path.splitext(folded(path))[0]


RULES: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("their paths", as_is), ("their paths, whatever the case", folded), ("their paths, whatever the ending", stem),
)  # fmt: skip


def best_rule(names: Sequence[str], files: Sequence[str], root: Path | None) -> tuple[str | None, list[int | None]]:
    """The first rule by which most lines find a file, and the row of each line's file."""
    best: tuple[str | None, list[int | None]] = None, [None] * len(names)
    for rule, key in RULES:
        places: dict[str, list[int]] = defaultdict(list)
        bare: dict[str, list[int]] = defaultdict(list)
        for row, file in enumerate(files):
            places[key(file) or str(row)].append(row)
            bare[PurePosixPath(key(file)).name].append(row)
        roots = set() if root is None else {key(root.name), key(root.resolve().name)}
        rows = [row_of(key(name), places, bare, roots) for name in names]
        if sum(row is not None for row in rows) > sum(row is not None for row in best[1]):
            best = rule, rows
        if all(row is not None for row in rows):
            break
    return best


def row_of(name: str, places: Mapping[str, list[int]], bare: Mapping[str, list[int]], roots: Collection[str]) -> int | None:
    """The row of the only file that a line can mean: two sites may well have pictures of the same names in folders of the same names."""
    parts = name.strip("/").split("/")
    candidates = [places.get("/".join(parts[start:]), []) for start in range(len(parts)) if start == 0 or parts[start - 1] in roots]
    rows = next(filter(None, candidates), bare.get(name, []) if len(parts) == 1 else [])
    return rows[0] if len(rows) == 1 else None
