"""Files of text -> columns: lines of .txt, rows of .csv, .tsv and .jsonl."""

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from leaven.errors import UserError

DOCUMENTS, LINES = (".txt", ".text", ".md"), (".csv", ".tsv", ".jsonl")
HEADINGS = {"file", "label", "text", "split", "group"}  # a first line with one of these names the columns, even where another name is a number


def read_lines(path: Path) -> dict[str, list[Any]]:
    return {"text": [line for line in lines_of(path) if line.strip()]}


def read_delimited(path: Path) -> dict[str, list[Any]]:
    """The columns of a .csv or .tsv file. The first line names them, unless it holds a number: they are then called 1, 2, ... Missing cells are "".

    Quotes are plain characters in .tsv files. Raises UserError when the file cannot be read.
    """
    tabs = path.suffix.lower() == ".tsv"
    csv.field_size_limit(sys.maxsize)
    try:
        text = io.StringIO(read_text(path), newline="")
        lines = csv.reader(text, delimiter="\t" if tabs else ",", quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL)
        rows = [row for row in lines if row]
    except csv.Error as error:
        raise UserError(f"not a table that can be read: {error}", where=path, hint="a csv file whose first line names the columns") from error
    if not rows:
        raise UserError("the file is empty", where=path)
    head, body = [name.strip() for name in rows[0]], rows[1:]
    if any(is_number(cell) for cell in head) and not HEADINGS & set(head):
        head, body = [str(place + 1) for place in range(len(head))], rows
    return {name: [row[place] if place < len(row) else "" for row in body] for place, name in enumerate(head)}


def read_jsonl(path: Path) -> dict[str, list[Any]]:
    """One JSON object per line. The columns are the keys of all of them, and a cell is None where an object lacks it."""
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines_of(path), 1):
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
    return {key: [row.get(key) for row in rows] for key in keys}


def lines_of(path: Path) -> list[str]:
    """Without their ends. Only \\n, \\r and \\r\\n end a line, which `str.splitlines` does not hold to."""
    return io.StringIO(read_text(path), newline=None).read().split("\n")


def read_text(path: Path) -> str:
    """The file's text; bytes that are not UTF-8 become lone surrogates, by which `encodes` knows them."""
    try:
        return path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=path) from error


READERS: dict[str, Callable[[Path], dict[str, list[Any]]]] = {
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
