"""Files of text -> columns: lines of .txt, rows of .csv, .tsv and .jsonl."""

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leaven.data.labels import MISSING
from leaven.data.sources.delimited import DELIMITERS, decode, likely_delimiter, split
from leaven.errors import UserError

DOCUMENTS, LINES = (".txt", ".text", ".md"), (".csv", ".tsv", ".jsonl")
HEADINGS = {"file", "label", "text", "split", "group"}  # a first line with one of these names the columns, even where another name is a number


DECIMAL_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?(e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Cells:
    """columns: name -> a cell per row. faults: row -> why it cannot be used. notes: what is unusual about how the file was read."""

    columns: dict[str, list[Any]]
    faults: dict[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_lines(path: Path) -> Cells:
    lines, notes = lines_of(path)
    return Cells({"text": [line for line in lines if line.strip()]}, notes=notes)


def read_delimited(path: Path) -> Cells:
    """The columns of a .csv or .tsv file. The first line names them, unless it holds a number: they are then called 1, 2, ... Missing cells are "".

    Delimiter and encoding are recognised. Quotes are plain characters in .tsv files, and where they would swallow whole rows. Rows with more cells
    than there are columns are faults. Raises UserError when the file cannot be read.
    """
    tabs = path.suffix.lower() == ".tsv"
    text, notes = read_text(path)
    try:
        delimiter = "\t" if tabs else likely_delimiter(text)
        table = split(text, delimiter, quotes=not tabs)
    except csv.Error as error:
        raise UserError(f"not a table that can be read: {error}", where=path, hint="a csv file whose first line names the columns") from error
    if not table.cells:
        raise UserError("the file is empty", where=path)
    if delimiter in ";|\t" and not tabs:
        notes += (f"{path.name} has {DELIMITERS[delimiter]} between its cells",)
    if table.plain:
        more = f" and {len(table.plain) - 1} more lines" if len(table.plain) > 1 else ""
        notes += (f"{path.name} has a quotation mark without an end on line {table.plain[0]}{more}",)
    head, body, lines = [name.strip() for name in table.cells[0]], table.cells[1:], table.lines[1:]
    if any(is_number(cell) for cell in head) and not HEADINGS & set(head):
        head, body, lines = [str(place + 1) for place in range(len(head))], table.cells, table.lines
    width = len(head)
    long = {row: f"line {lines[row]} has {len(cells)} cells, and the first has {width}" for row, cells in enumerate(body) if len(cells) > width}
    if short := [line for line, cells in zip(lines, body, strict=True) if len(cells) < width]:
        notes += (f"{len(short):,} rows of {path.name} have fewer cells than columns, such as line {short[0]}: the others are empty",)
    body = [[] if row in long else cells for row, cells in enumerate(body)]
    columns = {name: [cells[place] if place < len(cells) else "" for cells in body] for place, name in enumerate(unrepeated(head))}
    commas = [name for name, cells in columns.items() if delimiter != "," and have_decimal_commas(cells)]
    if commas:
        notes += (f"{path.name} has decimal commas, such as {next(cell for cell in columns[commas[0]] if ',' in cell)} in {commas[0]}",)
    columns |= {name: [cell.replace(".", "").replace(",", ".") for cell in columns[name]] for name in commas}
    return Cells(columns, long, notes)


def unrepeated(names: Sequence[str]) -> list[str]:
    """The second column of a name is called NAME.1."""
    counts = [names[:place].count(name) for place, name in enumerate(names)]
    return [f"{name}.{count}" if count else name for name, count in zip(names, counts, strict=True)]


def have_decimal_commas(cells: Sequence[str]) -> bool:
    """Whether all cells that are not missing are numbers, some of which have a comma before their decimals."""
    texts = [cell.strip() for cell in cells if "," in cell or cell.strip().lower() not in MISSING]
    return any("," in text for text in texts) and all(map(DECIMAL_COMMA.fullmatch, texts))


def read_jsonl(path: Path) -> Cells:
    """One JSON object per line. The columns are the keys of all of them, and a cell is None where an object lacks it."""
    rows: list[dict[str, Any]] = []
    lines, notes = lines_of(path)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"line {number} is not JSON: {error}", where=path, hint="one JSON object per line") from None
        if not isinstance(row, dict):
            raise UserError(f"line {number} holds no JSON object", where=path, hint='such as {"text": "..."}')
        rows.append(row)
    keys = dict.fromkeys(key for row in rows for key in row)
    if not keys:
        raise UserError("the file is empty", where=path)
    return Cells({key: [row.get(key) for row in rows] for key in keys}, notes=notes)


def lines_of(path: Path) -> tuple[list[str], tuple[str, ...]]:
    """Without their ends, and notes. Only \\n, \\r and \\r\\n end a line, which `str.splitlines` does not hold to."""
    text, notes = read_text(path)
    return io.StringIO(text, newline=None).read().split("\n"), notes


def read_text(path: Path) -> tuple[str, tuple[str, ...]]:
    """The file's text, and a note where it is not UTF-8. In UTF-8, damaged bytes become lone surrogates, by which `encodes` knows them."""
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        raise UserError("not a file", where=path)
    try:
        text, encoding = decode(path.read_bytes(), path)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=path) from error
    return text, () if encoding == "utf-8" else (f"{path.name} is read as {encoding.upper()}",)


READERS: dict[str, Callable[[Path], Cells]] = {
    **dict.fromkeys(DOCUMENTS, read_lines), ".csv": read_delimited, ".tsv": read_delimited, ".jsonl": read_jsonl,
}  # fmt: skip


def is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def encodes(text: str) -> bool:
    """Whether the text came from whole UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
