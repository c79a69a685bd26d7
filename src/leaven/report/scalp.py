"""Heads seen from above, coloured by what channels measured."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped
from torch import Tensor

from leaven.data import DataSet
from leaven.modalities import modality_of
from leaven.modalities.content import spread
from leaven.modalities.modality import Topography
from leaven.report.sheets import class_name, data_uri

MOST_SAMPLES, MOST_CLASSES = 500, 6
SIDE, FINE = 96, 3  # pixels of a picture, which is drawn larger and made smaller
EXTENT, HEAD = 1.42, 1.12  # half of what a picture shows, and the radius of the head, where the ring of electrodes has 1
LOW, HIGH, INK = (63, 143, 210), (224, 123, 38), (139, 148, 158)  # on light and on dark ground


def scalp_maps(data: DataSet, role: str, rows: Tensor) -> dict[str, Any] | None:
    """{columns, rows: [{name, why, range, images}]}: what channels measured over the head, in all samples and in each class; None where places of
    channels are not known. rows: of the data, which may be shown."""
    value, rows = data.rows[role], spread(rows, MOST_SAMPLES)
    topography = modality_of(value).topography(value[rows])
    if topography is None:
        return None
    numbers, labels = topography.numbers.double().numpy(), data.rows.label[rows]
    mean = numbers.mean(0)
    shown = [row_of("all", "each head relative to its own mean", mean - mean.mean(1, keepdims=True), topography)]
    for label, differences in class_differences(numbers, labels):
        shown.append(row_of(class_name(label, data.spec.class_names), "relative to all classes", differences, topography))
    return {"columns": topography.columns, "rows": shown, "unit": topography.unit}


def class_differences(numbers: Shaped[np.ndarray, "n columns channels"], labels: Int64[Tensor, " n"]) -> list[tuple[int, np.ndarray]]:
    """What distinguishes each class from the mean of the classes; nothing where there are fewer than two, or more than can be shown."""
    classes = [label for label in labels.unique().tolist() if label >= 0]
    if not 2 <= len(classes) <= MOST_CLASSES:
        return []
    means = np.stack([numbers[(labels == label).numpy()].mean(0) for label in classes])
    return list(zip(classes, means - means.mean(0), strict=True))


def row_of(name: str, why: str, numbers: Shaped[np.ndarray, "columns channels"], topography: Topography) -> dict[str, Any]:
    """The heads of one row, which share a range of colours."""
    most = float(np.abs(numbers).max()) or 1.0
    images = [data_uri(head(np.array(topography.places), column / most)) for column in numbers]
    return {"name": name, "why": why, "range": f"±{most:.2g} {topography.unit}", "images": images}


def head(places: Shaped[np.ndarray, "channels 2"], numbers: Shaped[np.ndarray, " channels"]) -> Shaped[np.ndarray, "height width 4"]:
    """A head as RGBA on a transparent ground: -1 blue, 0 clear, 1 orange, smooth between the channels, which are dots."""
    from PIL import Image, ImageDraw
    from scipy.interpolate import RBFInterpolator

    side = SIDE * FINE
    line = np.linspace(-EXTENT, EXTENT, side)
    right, up = np.meshgrid(line, -line)
    surface = RBFInterpolator(places, numbers, kernel="thin_plate_spline", smoothing=1e-3, degree=1)
    coarse = slice(None, None, 2 * FINE)
    grid = surface(np.stack([right[coarse, coarse].ravel(), up[coarse, coarse].ravel()], 1)).reshape(right[coarse, coarse].shape)
    grid = grid.clip(numbers.min(), numbers.max())  # beyond the channels nothing is known
    smooth = np.asarray(Image.fromarray(grid.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)).clip(-1, 1)
    picture = np.zeros((side, side, 4), np.uint8)
    picture[..., :3] = np.where(smooth[..., None] < 0, LOW, HIGH)
    picture[..., 3] = np.where(np.hypot(right, up) <= HEAD, np.abs(smooth) ** 0.8 * 255, 0)
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)

    def pixels(points: Any) -> list[tuple[float, float]]:
        return [((px / EXTENT + 1) / 2 * side, (1 - py / EXTENT) / 2 * side) for px, py in points]

    nose = pixels([(-0.16, HEAD * 0.99), (0, HEAD + 0.17), (0.16, HEAD * 0.99)])
    draw.line(nose, fill=INK, width=FINE, joint="curve")
    for sign in (-1, 1):
        ear = [(HEAD - 0.01, 0.2), (HEAD + 0.1, 0.17), (HEAD + 0.1, -0.17), (HEAD - 0.01, -0.2)]
        draw.line(pixels([(sign * x, y) for x, y in ear]), fill=INK, width=FINE, joint="curve")
    draw.ellipse([*pixels([(-HEAD, HEAD)])[0], *pixels([(HEAD, -HEAD)])[0]], outline=INK, width=FINE)
    radius = FINE * (1.3 if len(places) > 16 else 2)
    for px, py in pixels(places):
        draw.ellipse((px - radius, py - radius, px + radius, py + radius), fill=(*INK, 255))
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.LANCZOS))
