"""Objects in pictures: where each one lies, and its class."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from leaven.errors import UserError
from leaven.modalities.geometry import Geometry
from leaven.modalities.modality import Modality
from leaven.modalities.value import Value


@dataclass(frozen=True, eq=False)
class Boxes(Value):
    """Boxes (B, N, 4) float, left, top, right and bottom in pixels; classes (B, N) int64, -1 where there is only padding."""

    modality = "boxes"
    xyxy: Tensor
    classes: Tensor


class BoxesModality(Modality):
    """Up to N objects per picture."""

    name, noun, plural, values = "boxes", "list of boxes", "lists of boxes", (Boxes,)
    target = placed = True

    def checked(self, value: Any, where: str) -> Value:
        xyxy, classes = value.xyxy, value.classes
        if xyxy.ndim != 3 or xyxy.shape[2] != 4 or classes.shape != xyxy.shape[:2]:
            what = f"boxes of shape {tuple(xyxy.shape)} with classes of shape {tuple(classes.shape)}"
            raise UserError(what, where=where, hint="boxes are (samples, boxes, 4) and classes (samples, boxes), padded by class -1")
        real = xyxy[classes >= 0]
        if not real.isfinite().all() or (real[:, 2:] <= real[:, :2]).any():
            raise UserError("some boxes are empty or not finite", where=where, hint="a box is left, top, right, bottom in pixels")
        return Boxes(xyxy.float(), classes.long())

    def moved(self, value: Any, geometry: Geometry) -> Value:
        """Boxes are cut at the edges of the crop; those with nothing left become padding (zeros, class -1)."""
        corner = torch.stack([geometry.left, geometry.top], 1)[:, None]
        extent = torch.stack([geometry.width, geometry.height], 1)[:, None]
        low, high = value.xyxy[..., :2] - corner, value.xyxy[..., 2:] - corner
        size = value.xyxy.new_tensor([geometry.size[1], geometry.size[0]])
        low, high = (torch.minimum(edge.clamp(min=0), extent) * (size / extent) for edge in (low, high))
        if geometry.flip is not None:
            mirrored = geometry.flip[:, None]
            left, right = torch.where(mirrored, size[0] - high[..., 0], low[..., 0]), torch.where(mirrored, size[0] - low[..., 0], high[..., 0])
            low, high = torch.stack([left, low[..., 1]], -1), torch.stack([right, high[..., 1]], -1)
        if geometry.quarter_turns is not None:
            for turn in range(1, 4):  # a quarter counter-clockwise takes (x, y) to (y, side - x)
                turning = (geometry.quarter_turns >= turn)[:, None, None]
                turned_low = torch.stack([low[..., 1], size[0] - high[..., 0]], -1)
                turned_high = torch.stack([high[..., 1], size[0] - low[..., 0]], -1)
                low, high = torch.where(turning, turned_low, low), torch.where(turning, turned_high, high)
        kept = (high > low).all(-1) & (value.classes >= 0)
        return Boxes(torch.cat([low, high], -1) * kept[..., None], torch.where(kept, value.classes, -1))
