"""Geometry: random resized crops, flips and quarter turns, with parameters of each sample's own."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Num, UInt8
from torch import Tensor

from leaven.draw import Draw
from leaven.errors import UserError

# Below this many pixels a CPU multiplies by dense interpolation matrices; above it, one picture at a time is faster.
DENSE_PIXELS = 64 * 64


class CropBoxes(NamedTuple):
    """Where each sample is cropped, in whole pixels of the input."""

    top: Int[Tensor, " batch"]
    left: Int[Tensor, " batch"]
    height: Int[Tensor, " batch"]
    width: Int[Tensor, " batch"]


def sample_boxes(
    draw: Draw, rows: int, height: int, width: int, area: tuple[float, float] = (0.2, 1.0), ratio: tuple[float, float] = (3 / 4, 4 / 3)
) -> CropBoxes:
    """CropBoxes with a uniform share of the picture's area and a log-uniform ratio of width to height (Szegedy et al. 2015).

    As in torchvision's RandomResizedCrop: of ten candidates the first that fits, else the largest centred box whose ratio is allowed.
    """
    candidates = 10
    numbers = draw.uniform(rows, 2 * candidates + 2)
    share = area[0] + (area[1] - area[0]) * numbers[:, :candidates]
    log_low, log_high = math.log(ratio[0]), math.log(ratio[1])
    proportion = torch.exp(log_low + (log_high - log_low) * numbers[:, candidates : 2 * candidates])
    widths = (height * width * share * proportion).sqrt_().round_()
    heights = (height * width * share / proportion).sqrt_().round_()
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    any_fits, first = fits.max(dim=1)
    first = first[:, None]

    whole_ratio = width / height
    fallback_width = round(height * ratio[1]) if whole_ratio > ratio[1] else width
    fallback_height = round(width / ratio[0]) if whole_ratio < ratio[0] else height
    box_width = widths.gather(1, first)[:, 0].masked_fill_(~any_fits, fallback_width)
    box_height = heights.gather(1, first)[:, 0].masked_fill_(~any_fits, fallback_height)
    room_y, room_x = height - box_height, width - box_width
    # A float32 in [0, 1) times n + 1 can round up to n + 1.
    top = torch.minimum((numbers[:, -2] * (room_y + 1)).floor_(), room_y)
    left = torch.minimum((numbers[:, -1] * (room_x + 1)).floor_(), room_x)
    top = torch.where(any_fits, top, (height - fallback_height) // 2)
    left = torch.where(any_fits, left, (width - fallback_width) // 2)
    return CropBoxes(top.long(), left.long(), box_height.long(), box_width.long())


class Axis(NamedTuple):
    """Where along one side of the input each output pixel lies, in pixels, and what bounds it."""

    center: Float[Tensor, "batch output"]
    first: Int[Tensor, "batch 1"]
    last: Int[Tensor, "batch 1"]
    scale: Float[Tensor, "batch 1"]
    input_side: int

    @classmethod
    def of(
        cls,
        start: Int[Tensor, " batch"],
        length: Int[Tensor, " batch"],
        input_side: int,
        output_side: int,
        flip: Bool[Tensor, " batch"] | None = None,
    ) -> Axis:
        first, last = start[:, None], (start + length - 1)[:, None]
        scale = length.float()[:, None] / output_side
        index = torch.arange(output_side, device=start.device)
        if flip is not None:
            index = torch.where(flip[:, None], output_side - 1 - index, index)
        return cls(scale * (index + 0.5) + (first - 0.5), first, last, scale, input_side)

    def select(self, rows: slice) -> Axis:
        return Axis(self.center[rows], self.first[rows], self.last[rows], self.scale[rows], self.input_side)

    def matrices(self) -> Float[Tensor, "batch output input"]:
        """The linear maps that cut [first, last] out and resize it bilinearly, antialiased where it shrinks."""
        pixel = torch.arange(self.input_side, device=self.center.device, dtype=torch.float32)
        if self.center.shape[1] >= self.input_side:  # nothing can shrink: each output lies between two neighbours inside the box
            center = torch.minimum(torch.maximum(self.center, self.first), self.last)
            return torch.relu_(1 - (pixel - center[:, :, None]).abs_())
        inside = (pixel >= self.first) & (pixel <= self.last)
        weights = (pixel - self.center[:, :, None]).abs_().mul_(-1 / self.scale.clamp(min=1)[:, :, None])
        weights = weights.add_(1).clamp_(min=0).mul_(inside[:, None])
        return weights.div_(weights.sum(dim=2, keepdim=True))


def separable(
    x: Float[Tensor, "batch channel height width"], rows: Float[Tensor, "batch new_height height"], columns: Float[Tensor, "batch new_width width"]
) -> Float[Tensor, "batch channel new_height new_width"]:
    """Each picture multiplied by its own matrix along both axes. The result lies in memory channel by channel."""
    batch, channels, height, width = x.shape
    x = torch.bmm(x.reshape(batch, channels * height, width), columns.mT).view(batch, channels, height, -1)
    out = x.new_empty(channels, batch, rows.shape[1], columns.shape[1])
    for channel in range(channels):  # a broadcast product would copy the matrices for each channel
        torch.bmm(rows, x[:, channel], out=out[channel])
    return out.transpose(0, 1)


class Crop(NamedTuple):
    """CropBoxes, worked out for both sides of an input and an output."""

    rows: Axis
    columns: Axis
    boxes: CropBoxes
    flip: Bool[Tensor, " batch"] | None

    @classmethod
    def of(cls, boxes: CropBoxes, sides: tuple[int, int], size: tuple[int, int], flip: Bool[Tensor, " batch"] | None = None) -> Crop:
        rows = Axis.of(boxes.top, boxes.height, sides[0], size[0])
        return cls(rows, Axis.of(boxes.left, boxes.width, sides[1], size[1], flip), boxes, flip)

    def select(self, part: slice) -> Crop:
        boxes = CropBoxes(*[side[part] for side in self.boxes])
        return Crop(self.rows.select(part), self.columns.select(part), boxes, None if self.flip is None else self.flip[part])


def apply_crop(x: Num[Tensor, "batch channel height width"], crop: Crop) -> Float[Tensor, "batch channel new_height new_width"]:
    """`resized_crop` with what can be worked out once for many samples."""
    size = crop.rows.center.shape[1], crop.columns.center.shape[1]
    if x.device.type == "cpu" and max(x.shape[2] * x.shape[3], size[0] * size[1]) > DENSE_PIXELS:
        return _apply_crop_one_by_one(x, crop, size)
    columns = crop.columns.matrices()
    if x.dtype == torch.uint8:
        columns.mul_(1 / 255)
    return separable(x.float(), crop.rows.matrices(), columns)


def _apply_crop_one_by_one(x: Tensor, crop: Crop, size: tuple[int, int]) -> Tensor:
    out = torch.empty(*x.shape[:2], *size)
    for i, (top, left, height, width) in enumerate(zip(*[side.tolist() for side in crop.boxes], strict=True)):
        box = x[i : i + 1, :, top : top + height, left : left + width].float()
        out[i] = F.interpolate(box, size, mode="bilinear", antialias=True)[0]
    if x.dtype == torch.uint8:
        out.mul_(1 / 255)
    return out if crop.flip is None else horizontal_flip_(out, crop.flip)


def resized_crop(
    x: UInt8[Tensor, "batch channel height width"] | Float[Tensor, "batch channel height width"],
    top: Int[Tensor, " batch"],
    left: Int[Tensor, " batch"],
    height: Int[Tensor, " batch"],
    width: Int[Tensor, " batch"],
    size: tuple[int, int],
    flip: Bool[Tensor, " batch"] | None = None,
) -> Float[Tensor, "batch channel new_height new_width"]:
    """Each sample's box resized to `size` = (height, width), then mirrored left to right where `flip`; float32 in 0-1.

    Equals torchvision's `resized_crop` (bilinear, antialias=True) of the float picture within 1e-5. uint8 is divided by 255.
    """
    return apply_crop(x, Crop.of(CropBoxes(top, left, height, width), (x.shape[2], x.shape[3]), size, flip))


def horizontal_flip_(x: Num[Tensor, "batch channel height width"], flip: Bool[Tensor, " batch"]) -> Num[Tensor, "batch channel height width"]:
    """Mirrors the chosen samples left to right, in place."""
    chosen = flip.nonzero()[:, 0].to(x.device)
    return x.index_copy_(0, chosen, x.index_select(0, chosen).flip(3))


def rotate(x: Num[Tensor, "batch channel side side"], quarter_turns: Int[Tensor, " batch"]) -> Num[Tensor, "batch channel side side"]:
    """Each square picture turned counter-clockwise by its own number of quarter turns, 0 to 3 (Gidaris et al. 2018); any type."""
    side = x.shape[3]
    if x.shape[2] != side:
        raise UserError("only square pictures can be turned by quarters", where=f"{x.shape[2]}x{side} pixels", hint="crop them first")
    pixels = torch.arange(side * side, device=x.device).view(side, side)
    sources = torch.stack([torch.rot90(pixels, turns).flatten() for turns in range(4)])
    source = sources[quarter_turns.to(x.device)]
    return x.flatten(2).gather(2, source[:, None].expand(-1, x.shape[1], -1)).view_as(x)


def turn_inside(x: Float[Tensor, "batch channel side side"], degrees: float) -> Float[Tensor, "batch channel side side"]:
    """Square pictures turned counter-clockwise by any angle, of which the square inside their inscribed circle is kept and enlarged (bilinear).

    No corner is empty, whatever the angle. At multiples of 90 degrees it is the central square of the picture turned by quarters.
    """
    turn = math.radians(degrees)
    cosine, sine = math.cos(turn) / math.sqrt(2), math.sin(turn) / math.sqrt(2)
    matrix = x.new_tensor([[cosine, -sine, 0], [sine, cosine, 0]]).expand(len(x), 2, 3)
    return F.grid_sample(x, F.affine_grid(matrix, list(x.shape), align_corners=False), mode="bilinear", padding_mode="border", align_corners=False)
