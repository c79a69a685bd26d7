"""The class of each pixel of a picture."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from leaven.errors import UserError
from leaven.modalities.geometry import Geometry
from leaven.modalities.modality import Modality
from leaven.modalities.value import Value

IGNORED = 255


@dataclass(frozen=True, eq=False)
class Mask(Value):
    """Classes (B, H, W), whole numbers; pixels of the class `ignored` count neither in losses nor in scores."""

    modality = "mask"
    classes: Tensor
    ignored: int = IGNORED


class MaskModality(Modality):
    """A class for each pixel."""

    name, noun, plural, values = "mask", "mask", "masks", (Mask,)
    target = placed = True

    def checked(self, value: Any, where: str) -> Value:
        if value.classes.ndim != 3 or value.classes.is_floating_point():
            what = f"a mask of shape {tuple(value.classes.shape)} and type {value.classes.dtype}"
            raise UserError(what, where=where, hint="masks are (samples, height, width) of whole numbers")
        return value

    def moved(self, value: Any, geometry: Geometry) -> Value:
        """By the nearest pixel, so that no class arises between two others."""
        rows = nearest(geometry.top, geometry.height, geometry.size[0])
        columns = nearest(geometry.left, geometry.width, geometry.size[1])
        if geometry.flip is not None:
            columns = torch.where(geometry.flip[:, None], columns.flip(1), columns)
        sample = torch.arange(len(rows), device=rows.device)[:, None, None]
        classes = value.classes[sample, rows[:, :, None], columns[:, None, :]]
        if geometry.quarter_turns is not None:
            turned = torch.stack([torch.rot90(classes, turns, (1, 2)) for turns in range(4)])
            classes = turned[geometry.quarter_turns, sample[:, 0, 0]]
        return Mask(classes, value.ignored)


def nearest(start: Tensor, length: Tensor, size: int) -> Tensor:
    """(B, size) int64: which pixel of the input each pixel of the output shows, as `F.interpolate(mode="nearest")` chooses it."""
    scale = (length.float() / size)[:, None]
    place = (torch.arange(size, device=start.device) * scale).floor().long()
    return start[:, None] + torch.minimum(place, length[:, None] - 1)
