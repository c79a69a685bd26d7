"""Pictures of what lies in pictures: boxes and masks, the true ones beside those that a run finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from leaven.data.placed import Placed
from leaven.evaluation.placing import masks_of, objects_of
from leaven.methods.method import Method
from leaven.modalities.content import spread
from leaven.modalities.mask import IGNORED
from leaven.report.sheets import GAP, data_uri, rgb

SHOWN, WIDE = 4, 320  # pictures, and the pixels of the long side of each
SURE = 0.3  # the score from which a box is drawn
COLOURS = (
    (230, 85, 60), (60, 140, 230), (240, 190, 50), (95, 180, 90), (170, 95, 205), (75, 195, 200), (235, 130, 185), (150, 110, 70), (130, 130, 130),
    (180, 215, 85), (50, 70, 160), (250, 150, 90),
)  # fmt: skip


def truth_beside(method: Method, placed: Placed, rows: Tensor, device: str = "cpu") -> dict[str, Any]:
    """{images: data URIs, each with a picture, its truth, and what the method finds; classes: list of {name, colour}} for a few of these rows."""
    chosen = spread(rows, SHOWN).tolist()
    names = placed.data.spec.class_names
    if "segment" in method.abilities():
        found: Sequence[Any] = list(masks_of(method, placed, chosen, device))
        drawn: Callable[[Image.Image, Any], Image.Image] = with_mask
        truths = [placed.truth(row) for row in chosen]
    else:
        objects = objects_of(method, placed, chosen, device)
        found = [(one["boxes"][one["scores"] >= SURE], one["labels"][one["scores"] >= SURE]) for one in objects]
        drawn, truths = with_boxes, [placed.truth(row) for row in chosen]
    images = []
    for row, truth, seen in zip(chosen, truths, found, strict=True):
        picture = shown(placed, row)
        images.append(data_uri(beside([picture, drawn(picture, truth), drawn(picture, seen)])))
    return {"images": images, "classes": [{"name": name, "colour": "rgb({}, {}, {})".format(*colour_of(place))} for place, name in enumerate(names)]}


def colour_of(number: int) -> tuple[int, int, int]:
    return COLOURS[number % len(COLOURS)]


def shown(placed: Placed, row: int) -> Image.Image:
    """A picture as the network sees it, at the size that it has on disk, which its boxes and masks are in."""
    (height, width), (tall, broad) = placed.sizes[row], placed.scaled(row)
    pixels = rgb(placed.data.rows["x"][torch.tensor([row])].main[0])[:tall, :broad]
    return Image.fromarray(np.ascontiguousarray(pixels)).resize((width, height))


def with_mask(picture: Image.Image, mask: Tensor) -> Image.Image:
    table = np.zeros((256, 3), np.uint8)
    for number in range(IGNORED):
        table[number] = colour_of(number)
    return Image.blend(picture, Image.fromarray(table[mask.numpy()]), 0.6)


def with_boxes(picture: Image.Image, objects: tuple[Tensor, Tensor]) -> Image.Image:
    picture = picture.copy()
    draw, line = ImageDraw.Draw(picture), max(1, round(max(picture.size) / 160))
    for box, label in zip(objects[0].tolist(), objects[1].tolist(), strict=True):
        draw.rectangle(box, outline=colour_of(label), width=line)
    return picture


def beside(pictures: Sequence[Image.Image]) -> np.ndarray:
    """One row of pictures of one size as RGBA on a transparent ground."""
    scale = WIDE / max(pictures[0].size)
    width, height = (max(1, round(length * scale)) for length in pictures[0].size)
    canvas = np.zeros((height, len(pictures) * (width + GAP) - GAP, 4), np.uint8)
    for number, picture in enumerate(pictures):
        left = number * (width + GAP)
        canvas[:, left : left + width] = np.asarray(picture.resize((width, height)).convert("RGBA"))
    return canvas
