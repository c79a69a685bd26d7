"""Pictures of pictures: an input beside its views, a query beside its neighbours, as PNGs to inline."""

import base64
import io
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

CELL = 72  # pixels of the side of one picture, so that 8 x 8 digits can be seen
GAP = 6
SAME, OTHER = (46, 160, 67), (214, 72, 62)


def view_strips(
    originals: Shaped[Tensor, "n channels height width"], views: Sequence[Shaped[Tensor, "n channels h w"]], *, most: int = 8
) -> list[str]:
    """One data URI per sample: the original, a gap, then its views, which may differ in size. uint8 0-255 or float 0-1; at most `most` samples."""
    count = min(most, len(originals))
    return [data_uri(strip(originals[row], [view[row] for view in views])) for row in range(count)]


def picture_sheet(pictures: Shaped[Tensor, "n channels height width"], *, columns: int = 10) -> str:
    """A data URI of pictures close together, `columns` in a row."""
    step = CELL + GAP
    canvas = np.zeros((-(-len(pictures) // columns) * step - GAP, min(columns, len(pictures)) * step - GAP, 4), dtype=np.uint8)
    for number, picture in enumerate(pictures):
        top, left = (place * step for place in divmod(number, columns))
        canvas[top : top + CELL, left : left + CELL] = _cell(picture)
    return data_uri(canvas)


def neighbour_strips(neighbours: Mapping[str, Any], *, most: int = 8) -> list[dict[str, str]]:
    """{image, query, nearest} per query: its picture, its nearest training pictures framed green (same class) or red (other), and the names.

    neighbours: queries (n, C, H, W), neighbours (n, k, C, H, W), and when there are labels query_labels (n,), neighbour_labels (n, k) (-1 = none),
    classes.
    """
    queries, nearest = neighbours["queries"], neighbours["neighbours"]
    query_labels, nearest_labels, classes = neighbours.get("query_labels"), neighbours.get("neighbour_labels"), neighbours.get("classes")
    strips = []
    for row in range(min(most, len(queries))):
        frames: list[tuple[int, int, int] | None] = []
        query_name, nearest_names = "", ""
        if query_labels is not None and nearest_labels is not None and int(query_labels[row]) >= 0:
            own, others = int(query_labels[row]), [int(label) for label in nearest_labels[row]]
            frames = [None if label < 0 else SAME if label == own else OTHER for label in others]
            query_name = class_name(own, classes)
            nearest_names = ", ".join("?" if label < 0 else class_name(label, classes) for label in others)
        image = data_uri(strip(queries[row], list(nearest[row]), frames))
        strips.append({"image": image, "query": query_name, "nearest": nearest_names})
    return strips


def strip(
    first: Shaped[Tensor, "channels _ _"], rest: Sequence[Shaped[Tensor, "channels _ _"]], frames: Sequence[tuple[int, int, int] | None] = ()
) -> Shaped[np.ndarray, "height width 4"]:
    """One row of pictures as RGBA on a transparent ground, `rest` set off from `first` and framed where a colour is given."""
    border, wide = 4, 3 * GAP
    side = CELL + 2 * border
    canvas = np.zeros((side, (1 + len(rest)) * side + max(0, len(rest) - 1) * GAP + wide, 4), dtype=np.uint8)
    for number, (picture, colour) in enumerate(zip_longest([first, *rest], [None, *frames])):
        left = number * (side + GAP) + (wide - GAP if number else 0)
        if colour is not None:
            canvas[:, left : left + side] = (*colour, 255)
        canvas[border : border + CELL, left + border : left + border + CELL] = _cell(picture)
    return canvas


def data_uri(picture: Shaped[np.ndarray, "height width 4"]) -> str:
    """The picture as a PNG inside the address itself."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def dots(places: Shaped[np.ndarray, "n 2"], colours: Sequence[str], *, width: int = 320) -> Shaped[np.ndarray, "height width 4"]:
    """A map of points as RGBA on a transparent ground, each of its own colour; as wide as asked for and as high as the points lie."""
    from PIL import Image, ImageDraw

    fine = 3  # drawn larger and made smaller, since PIL's circles have jagged edges
    radius, edge = 3.2 * fine, 5 * fine
    placed = places - places.min(0)
    placed = placed * ((width * fine - 2 * edge) / max(float(placed[:, 0].max()), 1e-9))
    height = min(max(round((float(placed[:, 1].max()) + 2 * edge) / fine), 10), 2 * width)
    canvas = Image.new("RGBA", (width * fine, height * fine), (128, 128, 128, 0))
    draw = ImageDraw.Draw(canvas)
    for (x, y), colour in zip((placed + edge).tolist(), colours, strict=True):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return np.asarray(canvas.resize((width, height), Image.Resampling.LANCZOS))


def class_name(label: int, classes: Sequence[Any] | None) -> str:
    return str(classes[label]) if classes is not None and 0 <= label < len(classes) else str(label)


def _cell(picture: Tensor) -> Shaped[np.ndarray, "CELL CELL 4"]:
    """CELL x CELL RGBA by nearest neighbour, the longer side filling the cell."""
    pixels = rgb(picture)
    height, width, _ = pixels.shape
    tall, broad = max(1, CELL * height // max(height, width)), max(1, CELL * width // max(height, width))
    rows, columns = np.arange(tall) * height // tall, np.arange(broad) * width // broad
    cell = np.zeros((CELL, CELL, 4), dtype=np.uint8)
    top, left = (CELL - tall) // 2, (CELL - broad) // 2
    cell[top : top + tall, left : left + broad, :3] = pixels[rows][:, columns]
    cell[top : top + tall, left : left + broad, 3] = 255
    return cell


def rgb(picture: Tensor) -> Shaped[np.ndarray, "height width 3"]:
    """(C, H, W) uint8 or float 0-1 as uint8 colours. One channel is grey; two, or more than four, show their mean."""
    pixels = picture.detach().cpu()
    if pixels.dtype != torch.uint8:
        pixels = (pixels.float().nan_to_num().clamp(0, 1) * 255).round().to(torch.uint8)
    pixels = pixels[:3] if len(pixels) in (3, 4) else pixels.float().mean(0, keepdim=True).to(torch.uint8).expand(3, -1, -1)
    return pixels.permute(1, 2, 0).numpy()
