"""Boxes in files: COCO json, a folder of VOC xml, or a csv file; and which picture each box lies in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from xml.etree import ElementTree

import torch
from torch import Tensor

from leaven.data.label_files import FILE_COLUMNS, LABEL_COLUMNS, best_rule
from leaven.data.labels import sort_names
from leaven.data.sources.text_files import read_delimited
from leaven.data.splits import canonical
from leaven.errors import UserError
from leaven.modalities import Boxes, Value
from leaven.modalities.decoding import scaled_to

CORNERS = (("xmin", "left", "x1"), ("ymin", "top", "y1"), ("xmax", "right", "x2"), ("ymax", "bottom", "y2"))
"""The columns of a csv file that hold the corners of boxes."""
YEAR = re.compile(r"instances|\d+")  # in the names of COCO's own files, such as instances_train2017.json
SHAPES = "a COCO .json (or a folder of one for each split), a folder of VOC .xml, or a .csv with file,xmin,ymin,xmax,ymax,class"
LEFT_OUT = 10  # of so many boxes, one may be unusable; where there are more, something else is wrong


class Box(NamedTuple):
    """left, top, right and bottom in pixels of the picture as it lies on disk, and the class."""

    left: float
    top: float
    right: float
    bottom: float
    name: str


@dataclass(frozen=True, eq=False)
class Marked:
    """What a file of boxes says. pictures: the boxes of each picture by its name; a picture without any has an empty list. names: of the classes, in
    order; empty where the file has no order of its own. splits: of pictures, where there is a file for each split."""

    pictures: dict[str, list[Box]]
    names: tuple[str, ...] = ()
    splits: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class BoxFiles:
    """boxes: of each picture, None where nobody has looked for any. names: of the classes, in order. splits: of each picture, where the files say."""

    are_pictures: ClassVar[bool] = False

    boxes: tuple[list[Box] | None, ...]
    names: tuple[str, ...]
    where: Path
    notes: list[str] = field(default_factory=list)
    splits: tuple[str | None, ...] | None = None

    @classmethod
    def read(cls, labels: str, root: Path, files: Sequence[str], chosen: Sequence[str] = ()) -> BoxFiles:
        """chosen: the names of the classes, in order, where they are known before.

        Raises UserError for a file that holds no boxes, for more than a tenth of pictures that are not here, and for a class that is not among the
        chosen ones.
        """
        path = Path(labels).expanduser()
        marked = read_boxes(path)
        _, rows = best_rule(list(marked.pictures), files, root)
        unknown = [name for name, row in zip(marked.pictures, rows, strict=True) if row is None]
        notes = []
        if unknown:
            what = f"{len(unknown)} of {len(rows)} pictures with boxes are not here, for example {', '.join(unknown[:3])}"
            if LEFT_OUT * len(unknown) > len(rows) and LEFT_OUT * (len(files) - len(rows) + len(unknown)) > len(files):
                raise UserError(what, where=path, hint=f"write paths relative to the data, such as {files[0]}")
            notes.append(f"{what}; their boxes are left out")
        boxes: list[list[Box] | None] = [None] * len(files)
        splits: list[str | None] = [None] * len(files)
        for name, row in zip(marked.pictures, rows, strict=True):
            if row is not None:
                boxes[row] = [*(boxes[row] or []), *marked.pictures[name]]
                splits[row] = marked.splits.get(name)
        there = {box.name for some in boxes for box in some or []}
        if not there:
            raise UserError("there are no boxes of these pictures", where=path, hint=f"boxes are {SHAPES}")
        if chosen and (strange := sorted(there - set(chosen))):
            what = f"the run has not learned the class {strange[0]!r} of these boxes"
            raise UserError(what, where=path, hint=f"it knows {', '.join(chosen)}")
        return cls(tuple(boxes), tuple(chosen) or marked.names or sort_names(there), path, notes, tuple(splits) if marked.splits else None)

    @property
    def there(self) -> list[bool]:
        return [boxes is not None for boxes in self.boxes]

    def faults(self, sizes: Sequence[tuple[int, int]]) -> dict[int, str]:
        """Cut the boxes at the edges of their pictures, and leave out those that are empty or lie outside; what that changed stands in the notes.

        sizes: of the pictures. Raises UserError where more than a tenth of the boxes is left out.
        """
        cut, bad, total = 0, list[str](), 0
        for boxes, (height, width) in zip(self.boxes, sizes, strict=True):
            if boxes is None or not height:
                continue
            kept = []
            for box in boxes:
                inside = Box(max(0.0, box.left), max(0.0, box.top), min(float(width), box.right), min(float(height), box.bottom), box.name)
                total += 1
                if box.right <= box.left or box.bottom <= box.top:
                    bad.append(f"a box of {box.name} has no size")
                elif inside.right <= inside.left or inside.bottom <= inside.top:
                    bad.append(f"a box of {box.name} lies outside its picture of {width} x {height}")
                else:
                    kept.append(inside)
                    cut += inside != box
            boxes[:] = kept
        if bad and (LEFT_OUT * len(bad) > total):
            hint = "boxes are in pixels of the picture, from its top left corner"
            raise UserError(f"{len(bad)} of {total} boxes cannot be used: {bad[0]}", where=self.where, hint=hint)
        if bad:
            self.notes.append(f"left out: {len(bad)} of {total} boxes; the first: {bad[0]}")
        if cut:
            self.notes.append(f"{cut} of {total} boxes reach beyond their picture, and are cut at its edge")
        return {}

    def truth(self, row: int) -> tuple[Tensor, Tensor]:
        """(n, 4) left, top, right, bottom in pixels of a picture as it lies on disk, and (n,) int64 classes."""
        boxes = self.boxes[row] or []
        corners = torch.tensor([box[:4] for box in boxes], dtype=torch.float32).view(-1, 4)
        return corners, torch.tensor([self._numbers[box.name] for box in boxes], dtype=torch.int64)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}

    def laid_out(self, rows: Sequence[int], sides: tuple[int, int], sizes: Sequence[tuple[int, int]]) -> Value:
        """The boxes of these pictures, scaled with them."""
        most = max(1, *(len(self.boxes[row] or []) for row in rows))
        xyxy, classes = torch.zeros(len(rows), most, 4), torch.full((len(rows), most), -1)
        for place, row in enumerate(rows):
            corners, numbers = self.truth(row)
            tall, broad = scaled_to(sizes[row], sides)
            xyxy[place, : len(corners)] = corners * torch.tensor([broad / sizes[row][1], tall / sizes[row][0]] * 2)
            classes[place, : len(corners)] = numbers
        return Boxes(xyxy, classes)


def read_boxes(path: Path) -> Marked:
    """Raises UserError where this is no file of boxes."""
    if path.is_dir():
        parts = {split: file for file in sorted(path.glob("*.json")) if (split := canonical(YEAR.sub("", file.stem))) is not None}
        return by_split(parts) if parts else voc(sorted(path.rglob("*.xml")), path)
    if not path.is_file():
        raise UserError("no such file or folder", where=path, hint=f"boxes are {SHAPES}")
    readers = {".json": coco, ".xml": lambda file: voc([file], file), ".csv": table, ".tsv": table}
    if path.suffix.lower() not in readers:
        raise UserError("this is no file of boxes", where=path, hint=f"boxes are {SHAPES}")
    return readers[path.suffix.lower()](path)


def by_split(files: Mapping[str, Path]) -> Marked:
    """A COCO file for each split."""
    parts = {split: coco(file) for split, file in files.items()}
    names = tuple(dict.fromkeys(name for part in parts.values() for name in part.names))
    pictures = {name: boxes for part in parts.values() for name, boxes in part.pictures.items()}
    return Marked(pictures, names, {name: split for split, part in parts.items() for name in part.pictures})


def coco(path: Path) -> Marked:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = {category["id"]: str(category["name"]) for category in content["categories"]}
        files = {picture["id"]: str(picture["file_name"]) for picture in content["images"]}
        pictures: dict[str, list[Box]] = {name: [] for name in files.values()}
        for annotation in content["annotations"]:
            left, top, width, height = map(float, annotation["bbox"])
            pictures[files[annotation["image_id"]]].append(Box(left, top, left + width, top + height, names[annotation["category_id"]]))
    except (ValueError, KeyError, TypeError, OSError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"this is no COCO file: {what}", where=path, hint="it has images, categories, and annotations with a bbox") from error
    return Marked(pictures, tuple(dict.fromkeys(names[number] for number in sorted(names))))


def voc(files: Sequence[Path], where: Path) -> Marked:
    if not files:
        raise UserError("there are no .xml files here", where=where, hint=f"boxes are {SHAPES}")
    pictures = {}
    for file in files:
        try:
            tree = ElementTree.parse(file).getroot()
            objects = [(one.findtext("name", ""), one.find("bndbox")) for one in tree.iter("object")]
            sides = [([float(corners.findtext(side[0], "")) for side in CORNERS], name) for name, corners in objects if corners is not None]
            boxes = [Box(left, top, right, bottom, name) for (left, top, right, bottom), name in sides]
        except (ElementTree.ParseError, ValueError, OSError) as error:
            raise UserError(f"this is no VOC file: {error}", where=file, hint="each object has a name, and a bndbox with its corners") from error
        pictures[tree.findtext("filename") or file.stem] = boxes
    return Marked(pictures)


def table(path: Path) -> Marked:
    columns: dict[str, list[Any]] = {name.lower(): cells for name, cells in read_delimited(path).columns.items()}
    wanted = FILE_COLUMNS, *CORNERS, LABEL_COLUMNS
    found = [next((name for name in names if name in columns), None) for names in wanted]
    if missing := [names[0] for names, column in zip(wanted, found, strict=True) if column is None]:
        raise UserError(f"no column {missing[0]!r}; the columns are {', '.join(columns)}", where=path, hint=f"boxes are {SHAPES}")
    pictures: dict[str, list[Box]] = {}
    for line, (file, *corners, name) in enumerate(zip(*(columns[str(column)] for column in found), strict=True), 2):
        boxes = pictures.setdefault(file, [])
        try:
            if any(corners):  # a line without corners says that nothing lies in the picture
                left, top, right, bottom = map(float, corners)
                boxes.append(Box(left, top, right, bottom, name))
        except ValueError:
            raise UserError(f"line {line} holds corners that are no numbers", where=path, hint=f"boxes are {SHAPES}") from None
    return Marked(pictures)
