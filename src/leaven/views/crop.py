"""Geometry: random resized crops, flips and quarter turns, with parameters of each sample's own."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from leaven.draw import Draw
from leaven.errors import UserError

# Below this many pixels a CPU multiplies by dense interpolation matrices; above it, one picture at a time is faster.
DENSE_PIXELS = 64 * 64


def sample_boxes(
    draw: Draw, rows: int, height: int, width: int, area: tuple[float, float] = (0.2, 1.0), ratio: tuple[float, float] = (3 / 4, 4 / 3)
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Boxes with a uniform share of the picture's area and a log-uniform ratio of width to height (Szegedy et al. 2015).

    Returns top, left, height and width in whole pixels, (batch,) int64 each.

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
    return top.long(), left.long(), box_height.long(), box_width.long()


def crop_matrices(
    start: Int[Tensor, " batch"], length: Int[Tensor, " batch"], input_side: int, output_side: int, flip: Bool[Tensor, " batch"] | None = None
) -> Float[Tensor, "batch output input"]:
    """The linear maps that cut a stretch out of one side, resize it bilinearly, antialiased where it shrinks, and mirror it where `flip`."""
    first, last = start[:, None], (start + length - 1)[:, None]
    scale = length.float()[:, None] / output_side
    index = torch.arange(output_side, device=start.device)
    if flip is not None:
        index = torch.where(flip[:, None], output_side - 1 - index, index)
    center = scale * (index + 0.5) + (first - 0.5)
    pixel = torch.arange(input_side, device=start.device, dtype=torch.float32)
    if output_side >= input_side:  # nothing can shrink: each output lies between two neighbours inside the box
        center = torch.minimum(torch.maximum(center, first), last)
        return torch.relu_(1 - (pixel - center[:, :, None]).abs_())
    inside = (pixel >= first) & (pixel <= last)
    weights = (pixel - center[:, :, None]).abs_().mul_(-1 / scale.clamp(min=1)[:, :, None])
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


def resized_crop(
    x: Num[Tensor, "batch channel height width"], box: Sequence[Int[Tensor, " batch"]], size: tuple[int, int], flip: Tensor | None = None
) -> Float[Tensor, "batch channel new_height new_width"]:
    """Each sample's box (see `sample_boxes`) resized to `size` = (height, width), then mirrored left to right where `flip`; float32 in 0-1.

    Equals torchvision's `resized_crop` (bilinear, antialias=True) of the float picture within 1e-5. uint8 is divided by 255, floats are in 0-1.
    """
    if x.device.type != "cpu" or max(x.shape[2] * x.shape[3], size[0] * size[1]) <= DENSE_PIXELS:
        tops, lefts, heights, widths = box
        columns = crop_matrices(lefts, widths, x.shape[3], size[1], flip)
        if x.dtype == torch.uint8:
            columns.mul_(1 / 255)
        return separable(x.float(), crop_matrices(tops, heights, x.shape[2], size[0]), columns)
    out = torch.empty(*x.shape[:2], *size)
    for i, (top, left, height, width) in enumerate(zip(*(side.tolist() for side in box), strict=True)):
        cut = x[i : i + 1, :, top : top + height, left : left + width].float()
        out[i] = F.interpolate(cut, size, mode="bilinear", antialias=True)[0]
    if x.dtype == torch.uint8:
        out.mul_(1 / 255)
    return out if flip is None else horizontal_flip_(out, flip)


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
