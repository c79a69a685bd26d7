"""Text as spreadsheets and editors write it: its encoding, what stands between cells, and which quotation marks are plain characters."""

from __future__ import annotations

import codecs
import csv
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from leaven.errors import UserError

MARKS = {
    codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
OTHER_SCRIPTS = ("cp1251", "cp932", "gb18030", "euc_kr", "big5", "cp1253", "cp1255", "cp1256")
JUDGED = 2**20  # bytes by which an encoding is judged
LEAST_FOREIGN = 16  # bytes beyond ASCII, by fewer of which no other script can be recognised
csv.field_size_limit(sys.maxsize)  # a cell may be a whole document
DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
NONE = "\x1f"  # a character that no text contains
COMPARED = 200  # rows by which a delimiter is judged
LONGEST_CELL = 1000  # lines
END = "\0"


def decode(content: bytes, path: Path) -> tuple[str, str]:
    """Text and its encoding. Of a file that is UTF-8 but for some lines, other bytes become lone surrogates. UserError where no encoding fits."""
    encoding = next((encoding for mark, encoding in MARKS.items() if content.startswith(mark)), None) or likely_encoding(content)
    if encoding is None:
        raise UserError("neither UTF-8 nor another encoding that can be recognised", where=path, hint="save it as UTF-8")
    try:
        text = content.decode(encoding, errors="surrogateescape" if encoding.startswith("utf-8") else "strict")
    except UnicodeDecodeError as error:
        raise UserError(f"damaged {encoding.upper()} at byte {error.start:,}", where=path, hint="save it as UTF-8") from None
    return text, encoding.removesuffix("-sig")


def likely_encoding(content: bytes) -> str | None:
    beginning = content[:JUDGED]
    if beginning.count(0) > len(beginning) // 5:  # every second byte of Latin text in UTF-16 is 0
        return "utf-16-le" if beginning[1::2].count(0) > beginning[::2].count(0) else "utf-16-be"
    foreign = [line for line in content.split(b"\n") if not line.isascii()]
    if 2 * sum(decodes(line, "utf-8") for line in foreign) >= len(foreign):
        return "utf-8"
    from charset_normalizer import from_bytes

    sample = b"\n".join(foreign)[:JUDGED]
    high = sum(byte > 127 for byte in sample)
    if high < 0.4 * (high + sum(chr(byte).isalpha() for byte in sample if byte < 128)):  # Latin text with some accents
        return "cp1252" if decodes(sample, "cp1252") else None
    if high < LEAST_FOREIGN:
        return "utf-8"
    best = from_bytes(sample, cp_isolation=list(OTHER_SCRIPTS)).best()
    return best.encoding if best else None


def decodes(content: bytes, encoding: str) -> bool:
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


@dataclass
class Rows:
    """cells: a list per row; lines: on which line of the file each row begins, from 1; plain: lines whose quotation marks are plain characters."""

    cells: list[list[str]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    plain: list[int] = field(default_factory=list)

    def add(self, row: list[str], line: int) -> None:
        if row:
            self.cells.append(row)
            self.lines.append(line)


def likely_delimiter(text: str) -> str:
    """What stands between the cells: that which gives most rows as many cells as the first, which has two or more. Where the first line is one
    cell by any of them, nothing does."""

    def agreement(delimiter: str) -> tuple[float, bool, int]:
        rows = [row for row in islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), COMPARED) if row]
        width = len(rows[0]) if rows else 0
        return (sum(len(row) == width for row in rows) / len(rows) if width > 1 else 0.0), delimiter == ",", width

    best = max(DELIMITERS, key=agreement)
    return best if agreement(best)[0] else NONE


def split(text: str, delimiter: str, quotes: bool = True) -> Rows:
    """The rows of a table. A quotation mark that would swallow whole rows is a plain character."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE)
    rows, line, longest = Rows(), 1, 0
    for row in reader:
        rows.add(row, line)
        longest, line = max(longest, reader.line_num - line), reader.line_num + 1
    return rows if longest < 2 else split_carefully(io.StringIO(text, newline=None).read().split("\n"), delimiter)


def split_carefully(lines: Sequence[str], delimiter: str) -> Rows:
    """The same row by row: a quotation mark that is not closed, or behind which whole rows stand before it is closed, is a plain character."""
    rows, start, width = Rows(), 0, 0
    while start < len(lines):
        reader = csv.reader(chain((f"{line}\n" for line in lines[start : start + LONGEST_CELL]), [END]), delimiter=delimiter)
        row, end = next(reader), start + reader.line_num
        inner = lines[start + 1 : end - 1]
        unclosed = row[-1:] and row[-1].endswith(END)
        whole = sum(len(next(csv.reader([line], delimiter=delimiter), [])) == width for line in inner)
        if unclosed or (len(inner) > 1 and 2 * whole > len(inner)):
            plain = next(csv.reader([lines[start]], delimiter=delimiter, quoting=csv.QUOTE_NONE))
            row, end = [cell if cell.count('"') > 1 else cell.removeprefix('"') for cell in plain], start + 1
            rows.plain.append(end)
        rows.add(row, start + 1)
        start, width = end, width or len(row)
    return rows
