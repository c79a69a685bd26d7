"""Which patches of a grid are hidden: anywhere, in blocks, from one side or in the middle; and the blocks that I-JEPA predicts.

Counts are exact and equal in all samples, so that shapes are static. An order lists all patches of a sample row by row of its batch, those to hide
last; patches are numbered row by row of the grid.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from leaven.draw import Draw
from leaven.errors import UserError

Grid = tuple[int, int]
"""Rows and columns of patches."""

RATIO = 0.3, 1 / 0.3
CANDIDATES = 32  # blocks that are drawn for a sample: with fewer, a large share of the grid would at times not be covered


def random_order(draw: Draw, rows: int, grid: Grid, hidden: int) -> Int[Tensor, "batch patches"]:
    """Any patches are hidden: uniform permutations (He et al. 2022, section 3)."""
    return draw.permutations(grid[0] * grid[1], rows)


def block_order(draw: Draw, rows: int, grid: Grid, hidden: int, *, smallest: float = 0.08) -> Int[Tensor, "batch patches"]:
    """Rectangles are hidden, one after another until there are enough (Bao et al. 2022, algorithm 1); of the last one only as much as is needed.

    smallest: area of a rectangle at least, as a share of the grid (the largest is all that is to be hidden). Its ratio of height
    to width is log-uniform in `RATIO`.
    """
    numbers = draw.uniform(rows, CANDIDATES, 4)
    least = min(smallest * grid[0] * grid[1], float(hidden))
    area = least + (hidden - least) * numbers[..., 0]
    proportion = torch.exp(math.log(RATIO[0]) + math.log(RATIO[1] / RATIO[0]) * numbers[..., 1])
    height = (area * proportion).sqrt().round().clamp(1, grid[0])
    width = (area / proportion).sqrt().round().clamp(1, grid[1])
    covered = rectangles(placed(numbers[..., 2], grid[0] - height), placed(numbers[..., 3], grid[1] - width), height, width, grid)
    first = torch.where(covered.any(dim=1), covered.int().argmax(dim=1), CANDIDATES)
    return (first + draw.child("ties").uniform(rows, grid[0] * grid[1])).argsort(dim=1, descending=True)


def side_order(draw: Draw, rows: int, grid: Grid, hidden: int) -> Int[Tensor, "batch patches"]:
    """All from one side is hidden: the top, bottom, left or right of each sample's own choice."""
    patches = torch.arange(grid[0] * grid[1], device=draw.device).view(grid)
    top, bottom, left, right = patches.flip(0), patches, patches.flip(1).T, patches.T
    return torch.stack([order.flatten() for order in (top, bottom, left, right)])[draw.integers(4, rows)]


def center_order(draw: Draw, rows: int, grid: Grid, hidden: int) -> Int[Tensor, "batch patches"]:
    """The middle is hidden, the same in all samples: a square where as many are hidden as fill one."""
    row, column = (((torch.arange(side, device=draw.device) + 0.5) / side - 0.5).abs() for side in grid)
    distance = torch.maximum(row[:, None], column[None, :]).flatten()
    return distance.argsort(descending=True, stable=True).expand(rows, -1)


ORDERS: dict[str, Callable[[Draw, int, Grid, int], Tensor]] = {
    "random": random_order,
    "blocks": block_order,
    "halves": side_order,
    "center": center_order,
}


def check_mask(kind: str, ratio: float, patches: int) -> int:
    """How many of the patches are hidden. UserError where the kind is unknown, or none or all of them would be."""
    if kind not in ORDERS:
        raise UserError(f"mask cannot be {kind!r}", hint=f"choose {', '.join(ORDERS)}")
    hidden = round(patches * ratio)
    if not 0 < hidden < patches:
        raise UserError(f"mask_ratio {ratio} hides {hidden} of {patches} patches", hint="choose one between 0 and 1")
    return hidden


def places_to_mask(places: Int[Tensor, "batch some"], patches: int) -> Bool[Tensor, "batch patches"]:
    """True at the places that are listed."""
    return torch.zeros(len(places), patches, dtype=torch.bool, device=places.device).scatter_(1, places, True)


def real_first(order: Int[Tensor, "batch patches"], real: Bool[Tensor, "batch patches"], ratio: float) -> Int[Tensor, "batch patches"]:
    """An order in which the share of each sample's real patches that is hidden comes last, and what is not real before these.

    Of so many patches as an order of whole samples hides, the last ones, the real ones are thus exactly those of the sample that are hidden; what is
    seen holds all others. order: from which both are taken in turn. The order of a sample that is real throughout stays as it is.
    """
    within = real.gather(1, order)
    seen = within.sum(1, keepdim=True) - (ratio * within.sum(1, keepdim=True)).round().clamp(min=1).long()
    kind = torch.where(within, 2 * (within.cumsum(1) > seen), 1)
    return order.gather(1, kind.argsort(dim=1, stable=True))


class MultiBlock(NamedTuple):
    """Where the blocks to predict lie, (batch, blocks, patches of one) int64, and what they are predicted from, (batch, kept) int64."""

    targets: Tensor
    context: Tensor


def multi_block(
    draw: Draw, rows: int, grid: Grid, *, blocks: int, scale: tuple[float, float], ratio: tuple[float, float], context: tuple[float, float]
) -> MultiBlock:
    """Target blocks, which may overlap, and one nearly whole block without what they cover (Assran et al. 2023, section 3).

    scale, context: share of the grid that a block covers. ratio: of height to width. Blocks have one size in a batch, drawn for it, and places of
    each sample's own. A sample that is left with less than a quarter of the grid draws its places again, up to ten times. The context is then cut
    to as many patches as the poorest sample of the global batch has; which ones go is random (the paper's code drops those at the bottom).
    """
    everyone, count = Draw(*draw.key), rows * draw.parts  # sizes and the smallest count must be the same in all parts
    share, proportion, around = everyone.child("sizes").uniform(1, 3)[0].tolist()
    target = side_lengths(grid, between(share, scale), between(proportion, ratio))
    frame = side_lengths(grid, between(around, context), 1.0)
    corners = everyone.child("places").uniform(count, 10, blocks + 1, 2)
    height, width = (torch.tensor([float(side)] * blocks + [float(rest)]) for side, rest in zip(target, frame, strict=True))
    top, left = placed(corners[..., 0], grid[0] - height), placed(corners[..., 1], grid[1] - width)
    covered = rectangles(top, left, height, width, grid)
    kept = covered[:, :, -1] & ~covered[:, :, :-1].any(dim=2)
    chosen = kept.sum(dim=2).clamp(max=grid[0] * grid[1] // 4).argmax(dim=1)  # the first that leaves enough, else the one that leaves the most
    samples = torch.arange(count)
    kept, top, left = kept[samples, chosen], top[samples, chosen, :-1].long(), left[samples, chosen, :-1].long()
    fewest = int(kept.sum(dim=1).min())
    if fewest == 0:
        raise UserError(f"the blocks leave nothing of {grid[0]} x {grid[1]} patches to predict them from", hint="make blocks or block_scale smaller")
    places = (torch.arange(target[0])[:, None] * grid[1] + torch.arange(target[1])).flatten()
    targets = (top * grid[1] + left)[..., None] + places
    order = (everyone.child("cut").uniform(count, grid[0] * grid[1]) - kept.float()).argsort(dim=1)
    own = slice(draw.part * rows, (draw.part + 1) * rows)
    return MultiBlock(targets[own].to(draw.device), order[own, :fewest].to(draw.device))


def between(number: float, bounds: tuple[float, float]) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * number


def side_lengths(grid: Grid, share: float, ratio: float) -> tuple[int, int]:
    """Height and width in patches of a block with this share of the grid's area, within the grid."""
    area = share * grid[0] * grid[1]
    height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
    return min(max(height, 1), grid[0]), min(max(width, 1), grid[1])


def placed(number: Tensor, room: Tensor) -> Tensor:
    """A whole number uniform in 0 .. room from one in [0, 1)."""
    return torch.minimum((number * (room + 1)).floor(), room)


def rectangles(top: Tensor, left: Tensor, height: Tensor | int, width: Tensor | int, grid: Grid) -> Bool[Tensor, "*rectangles patches"]:
    """Which patches each rectangle covers."""

    def covered(start: Tensor, length: Tensor | int, side: int) -> Tensor:
        place = torch.arange(side, device=start.device)
        return (place >= start[..., None]) & (place < (start + length)[..., None])

    return (covered(top, height, grid[0])[..., :, None] & covered(left, width, grid[1])[..., None, :]).flatten(-2)
