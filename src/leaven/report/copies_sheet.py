"""A contact sheet of samples that stand in a data set more than once, or in two data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from leaven.data import DataSet
from leaven.errors import UserError
from leaven.inspection.inspection import Inspection
from leaven.modalities import modality_of
from leaven.modalities.content import evenly_spaced
from leaven.report.contact_sheet import CELL, GAP, MARGIN, PAPER, Shown, tile
from leaven.run import write_whole

if TYPE_CHECKING:
    from PIL import Image

SETS, ACROSS = 24, 3


def copies_sheet(path: Path, inspection: Inspection, data: DataSet, against: DataSet | None = None) -> bool:
    """Write a pair from each of up to 24 sets of copies, from the surest to the most doubtful; of two data sets, what they share.

    False where there is nothing to show; nothing is written then. Raises UserError for data other than pictures.
    """
    if inspection.near_duplicates is None:
        raise UserError("a contact sheet shows pictures, and this data has none", where=data.name, hint="leave --sheet out")
    shared = inspection.overlap["against"]
    if shared is not None and against is not None:
        pairs = [
            (tile(shown(against, each["row"], likeness(each), shared["data"])), tile(shown(data, each["in_row"], inspection.data, each["in_file"])))
            for each in spread(shared["pairs"])
        ]
    else:
        pairs = []
        for each in spread([*inspection.duplicates, *inspection.near_duplicates]):
            (a, b), (file, other) = each["rows"][:2], each["files"][:2]
            more = f"and {len(each['rows']) - 2} more" if len(each["rows"]) > 2 else ""
            pairs.append((tile(shown(data, a, likeness(each), file)), tile(shown(data, b, more, other))))
    if pairs:
        sheet = grid(pairs)
        write_whole(path, lambda partial: sheet.save(partial, format="PNG", optimize=True))
    return bool(pairs)


def grid(pairs: list[tuple[Image.Image, Image.Image]]) -> Image.Image:
    """Pairs side by side, some in a row."""
    from PIL import Image

    width, height = 2 * CELL + GAP // 2, max(each.height for pair in pairs for each in pair)
    across = min(ACROSS, len(pairs))
    sheet = Image.new("RGB", (2 * MARGIN + across * (width + 2 * GAP) - 2 * GAP, 2 * MARGIN + -(-len(pairs) // across) * (height + GAP) - GAP), PAPER)
    for number, pair in enumerate(pairs):
        left, top = MARGIN + number % across * (width + 2 * GAP), MARGIN + number // across * (height + GAP)
        for place, each in enumerate(pair):
            sheet.paste(each, (left + place * (CELL + GAP // 2), top))
    return sheet


def shown(data: DataSet, row: int, *lines: str) -> Shown:
    """The picture of a row, with its class and what else is to be said."""
    value = next(iter(data.rows.roles.values()))
    label = int(data.rows.label[row])
    return Shown(modality_of(value).pictures(value[torch.tensor([row])])[0], (*lines, *([data.spec.class_names[label]] if label >= 0 else [])))


def likeness(each: dict[str, Any]) -> str:
    return "equal" if each.get("similarity") is None else f"alike {each['similarity']:.3f}"


def spread(listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [listed[place] for place in evenly_spaced(len(listed), SETS).tolist()]
