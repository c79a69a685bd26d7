"""Contact sheets: pictures with captions, beside those that belong to them, as a PNG that reads on light and on dark ground."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from leaven.data import DataSet
from leaven.errors import UserError
from leaven.evaluation.search import Query
from leaven.inspection.copies import visible_role
from leaven.inspection.inspection import Inspection
from leaven.modalities import Value, modality_of
from leaven.modalities.content import evenly_spaced
from leaven.report.sheets import OTHER, SAME, rgb
from leaven.run import write_whole
from leaven.vectors import label_of

if TYPE_CHECKING:
    from PIL import Image

SIDE, FRAME, GAP, MARGIN = 160, 4, 14, 28
CELL = SIDE + 2 * FRAME
GRID_GAP = 4
COPIES, COPIES_IN_A_ROW = 24, 3
FONT, LINE = 15, 20
PAPER, INK, FAINT, RULE = "#fbfaf7", "#1f2328", "#68707b", "#dcd9d2"


@dataclass(frozen=True)
class Shown:
    """A picture, (C, H, W) uint8 or float 0-1, or a text in its place; lines of text below it, and the colour of its frame."""

    content: Shaped[Tensor, "channels height width"] | str
    lines: tuple[str, ...]
    frame: tuple[int, int, int] | None = None


def search_sheet(path: Path, data: DataSet, value: Value, queries: Sequence[Query], answers: Sequence[Sequence[Mapping[str, Any]]]) -> None:
    """Each query beside its neighbours (`evaluation.search`); where a query's class is known, theirs are framed green (the same) or red.

    value: the data's pictures.
    """
    groups = []
    for query, neighbours in zip(queries, answers, strict=True):
        own = None if query.row is None else label_of(data, query.row)
        others = []
        for neighbour in neighbours:
            label = neighbour.get("label")
            lines = (f"{neighbour['rank']}   {neighbour['similarity']:.3f}", *([label] if label else []), neighbour["file"])
            frame = None if own is None or label is None else SAME if label == own else OTHER
            others.append(tile(Shown(content_of(value[torch.tensor([neighbour["index"]])]), lines, frame)))
        content = content_of(query.value)
        name = [] if isinstance(content, str) and content == query.name else [query.name]
        groups.append((tile(Shown(content, ("query", *([own] if own else []), *name))), others))
    contact_sheet(path, groups)


def content_of(sample: Value) -> Tensor | str:
    """One sample as it is shown: as a picture, or as it was written."""
    modality = modality_of(sample)
    return modality.pictures(sample)[0] if modality.visible else modality.written(sample) or modality.name


def contact_sheet(path: Path, groups: Sequence[tuple[Image.Image, Sequence[Image.Image]]]) -> None:
    """Write one block of rows per group: its first tile at the left, the others beside it, five in a row."""
    from PIL import Image, ImageDraw

    columns = min(5, max(len(others) for _, others in groups))
    step, beside = CELL + GAP, MARGIN + CELL + 3 * GAP
    heights = [max(tile.height for tile in (first, *others)) + GAP for first, others in groups]
    below = [max(1, -(-len(others) // columns)) * height for height, (_, others) in zip(heights, groups, strict=True)]
    sheet = Image.new("RGB", (beside + columns * step - GAP + MARGIN, 2 * MARGIN + sum(below) + 2 * GAP * (len(groups) - 1) - GAP), PAPER)
    top = MARGIN
    for (first, others), row, height in zip(groups, heights, below, strict=True):
        sheet.paste(first, (MARGIN, top))
        rule = MARGIN + CELL + 3 * GAP // 2
        ImageDraw.Draw(sheet).line((rule, top, rule, top + height - GAP), RULE, 2)
        for number, other in enumerate(others):
            sheet.paste(other, (beside + number % columns * step, top + number // columns * row))
        top += height + 2 * GAP
    write_picture(path, sheet)


def copies_sheet(path: Path, inspection: Inspection, data: DataSet, against: DataSet | None = None) -> bool:
    """Write a pair from each of up to 24 sets of copies, from the surest to the most doubtful; of two data sets, what they share.

    False where there is nothing to show; nothing is written then. Raises UserError for data other than pictures.
    """
    from PIL import Image

    if inspection.near_duplicates is None:
        raise UserError("a contact sheet shows pictures, and this data has none", where=data.name, hint="leave --sheet out")
    shared = inspection.overlap["against"]
    pairs: list[tuple[Image.Image, Image.Image]] = []
    if shared is not None and against is not None:
        for copy in some_of(shared["pairs"]):
            first = copy_tile(against, copy["row"], likeness(copy), shared["data"])
            pairs.append((first, copy_tile(data, copy["in_row"], inspection.data, copy["in_file"])))
    else:
        for copies in some_of([*inspection.duplicates, *inspection.near_duplicates]):
            (row, other), (file, other_file) = copies["rows"][:2], copies["files"][:2]
            more = f"and {len(copies['rows']) - 2} more" if len(copies["rows"]) > 2 else ""
            pairs.append((copy_tile(data, row, likeness(copies), file), copy_tile(data, other, more, other_file)))
    if not pairs:
        return False
    width, height = 2 * CELL + GAP // 2 + 2 * GAP, max(tile.height for pair in pairs for tile in pair) + GAP
    columns = min(COPIES_IN_A_ROW, len(pairs))
    sheet = Image.new("RGB", (2 * MARGIN + columns * width - 2 * GAP, 2 * MARGIN + -(-len(pairs) // columns) * height - GAP), PAPER)
    for number, pair in enumerate(pairs):
        left, top = MARGIN + number % columns * width, MARGIN + number // columns * height
        for place, picture in enumerate(pair):
            sheet.paste(picture, (left + place * (CELL + GAP // 2), top))
    write_picture(path, sheet)
    return True


def copy_tile(data: DataSet, row: int, *lines: str) -> Image.Image:
    """The picture of a row, with these lines and its class below it."""
    label = label_of(data, row)
    return tile(Shown(content_of(data.rows[str(visible_role(data))][torch.tensor([row])]), (*lines, *([label] if label else []))))


def likeness(copies: Mapping[str, Any]) -> str:
    return "equal" if copies.get("similarity") is None else f"alike {copies['similarity']:.3f}"


def some_of(listed: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [listed[place] for place in evenly_spaced(len(listed), COPIES).tolist()]


def picture_grid(path: Path, rows: Sequence[Value], *, columns: int) -> None:
    """Pictures of one size close together, `columns` in a row, and nothing else. With several values each row of the first stands above its row of
    the others, and a gap parts such groups of rows."""
    from PIL import Image

    pictures = [[rgb(picture) for picture in modality_of(value).pictures(value)] for value in rows]
    height, width = pictures[0][0].shape[:2]
    scale = max(1, round(56 / max(height, width)))
    step_x, step_y, gap = width * scale + GRID_GAP, height * scale + GRID_GAP, 3 * GRID_GAP
    columns = min(columns, len(pictures[0]))
    groups = -(-len(pictures[0]) // columns)
    tall = groups * len(pictures) * step_y + (groups - 1) * (gap if len(pictures) > 1 else 0)
    sheet = Image.new("RGB", (2 * MARGIN + columns * step_x - GRID_GAP, 2 * MARGIN + tall - GRID_GAP), PAPER)
    for kind, several in enumerate(pictures):
        for number, picture in enumerate(several):
            group, column = divmod(number, columns)
            top = MARGIN + (group * len(pictures) + kind) * step_y + (group * gap if len(pictures) > 1 else 0)
            tiny = Image.fromarray(picture).resize((width * scale, height * scale), Image.Resampling.NEAREST)
            sheet.paste(tiny, (MARGIN + column * step_x, top))
    write_picture(path, sheet)


def write_picture(path: Path, picture: Image.Image) -> None:
    write_whole(path, lambda partial: picture.save(partial, format="PNG", optimize=True))


def tile(shown: Shown) -> Image.Image:
    """One picture in its frame, or a text, with its lines below it. Tiny pictures show their pixels."""
    from PIL import Image, ImageDraw, ImageFont

    tile = Image.new("RGB", (CELL, CELL + LINE * len(shown.lines)), PAPER)
    draw, font = ImageDraw.Draw(tile), ImageFont.load_default(FONT)
    if isinstance(shown.content, str):
        lines = textwrap.wrap(shown.content, SIDE // 8, max_lines=SIDE // LINE, placeholder=" …")
        draw.multiline_text((CELL // 2, CELL // 2), "\n".join(shortened(line, font.getlength) for line in lines), INK, font, "mm", align="center")
    else:
        picture = Image.fromarray(rgb(shown.content))
        scale = SIDE / max(picture.size)
        width, height = (max(1, round(length * scale)) for length in picture.size)
        picture = picture.resize((width, height), Image.Resampling.NEAREST if scale >= 4 else Image.Resampling.LANCZOS)
        left, top = (CELL - width) // 2, (CELL - height) // 2
        if shown.frame is not None:
            draw.rectangle((left - FRAME, top - FRAME, left + width + FRAME - 1, top + height + FRAME - 1), shown.frame)
        tile.paste(picture, (left, top))
    for number, line in enumerate(shown.lines):
        draw.text((FRAME, CELL + 2 + number * LINE), shortened(line, font.getlength), INK if number == 0 else FAINT, font)
    return tile


def shortened(line: str, length: Callable[[str], float], width: int = SIDE) -> str:
    """The line, or what is no longer than `width`: a path without its folders, else the beginning and the end around an ellipsis."""
    if length(line) <= width:
        return line
    if "/" in line and length(name := "…/" + line.rpartition("/")[2]) <= width:
        return name
    for kept in range(len(line) - 1, -1, -1):
        end = kept * 2 // 3  # names of files differ at their ends
        text = f"{line[: kept - end]}…{line[len(line) - end :]}"
        if length(text) <= width:
            return text
    return ""
