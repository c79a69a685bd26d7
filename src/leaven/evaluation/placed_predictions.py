"""What a run finds in whole pictures, as files: masks, or boxes as COCO json."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from leaven.data.class_names import FILE
from leaven.errors import UserError
from leaven.run import whole_folder, write_whole

COUNTED = 0.5  # the score from which a box is counted


@dataclass(frozen=True, eq=False)
class Masks:
    """files: of the pictures. classes: by number. masks: the class of each pixel of each picture, one after another. counts: pixels of each
    class, known when the masks are written."""

    files: tuple[str, ...]
    classes: tuple[str, ...]
    masks: Iterable[Tensor]
    counts: dict[str, int] = field(default_factory=dict)
    what = "masks"

    def __len__(self) -> int:
        return len(self.files)

    def written(self, folder: Path) -> Masks:
        """A PNG for each picture, at its path, and classes.csv, so that the folder can be read as labels. Returns itself, with the counts.

        Where classes are called by numbers, these are the values of the pixels; else classes are numbered from 0. The folder is there when all masks
        are. Raises UserError where two pictures would have one mask, or a folder that is not empty is in the place.
        """
        names = [PurePosixPath(file).with_suffix(".png").as_posix() for file in self.files]
        if twice := next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None:
            raise UserError(f"two pictures would have the mask {twice}", where=folder, hint="rename one: they differ by their endings alone")
        numbered = all(name.isdigit() and int(name) < 256 for name in self.classes)
        values = np.array([int(name) if numbered else place for place, name in enumerate(self.classes)], np.uint8)
        counts = torch.zeros(len(self.classes), dtype=torch.int64)
        with whole_folder(folder) as partial:
            for name, mask in zip(names, self.masks, strict=True):
                counts += mask.flatten().long().bincount(minlength=len(self.classes))
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(values[mask.numpy()]).save(partial / name)
            with open(partial / FILE, "w", newline="", encoding="utf-8") as stream:
                csv.writer(stream).writerows([("id", "name"), *zip(values.tolist(), self.classes, strict=True)])
        return replace(self, masks=(), counts=dict(zip(self.classes, counts.tolist(), strict=True)))


@dataclass(frozen=True, eq=False)
class Objects:
    """files, sizes: of the pictures. classes: by number. found: the boxes (n, 4), scores and labels of each picture, one after another.
    counts: boxes of each class from a score of 0.5, known when they are written."""

    files: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    classes: tuple[str, ...]
    found: Iterable[dict[str, Tensor]]
    counts: dict[str, int] = field(default_factory=dict)
    what = "boxes"

    def __len__(self) -> int:
        return len(self.files)

    def written(self, path: Path) -> Objects:
        """COCO json: images, categories, and annotations with a score each. Returns itself, with the counts."""
        annotations: list[dict[str, Any]] = []
        counts = dict.fromkeys(self.classes, 0)
        for picture, objects in enumerate(self.found, 1):
            for (left, top, right, bottom), score, label in zip(*(objects[name].tolist() for name in ("boxes", "scores", "labels")), strict=True):
                box = [round(number, 2) for number in (left, top, right - left, bottom - top)]
                sure = {"score": round(score, 4), "area": round(box[2] * box[3], 2), "iscrowd": 0}
                annotations.append({"id": len(annotations) + 1, "image_id": picture, "category_id": label + 1, "bbox": box, **sure})
                counts[self.classes[label]] += score >= COUNTED
        content = {
            "images": [
                {"id": number, "file_name": file, "width": width, "height": height}
                for number, (file, (height, width)) in enumerate(zip(self.files, self.sizes, strict=True), 1)
            ],
            "categories": [{"id": number, "name": name} for number, name in enumerate(self.classes, 1)],
            "annotations": annotations,
        }
        write_whole(path, lambda partial: partial.write_text(json.dumps(content), encoding="utf-8"))
        return replace(self, found=(), counts=counts)
