"""A world of drawn shapes with sentences about them, for demonstrations and tests of pictures with words."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

SHAPES = ("circle", "square", "triangle", "cross", "ring")
COLOURS = {
    "red": (220, 40, 40), "green": (40, 170, 60), "blue": (50, 80, 220), "yellow": (235, 205, 40), "purple": (150, 60, 180), "orange": (245, 140, 30),
}  # fmt: skip
SIZES = {"small": 0.2, "large": 0.34}  # of half a side
PLACES = {"left": (-0.5, 0.0), "right": (0.5, 0.0), "top": (0.0, -0.5), "bottom": (0.0, 0.5), "middle": (0.0, 0.0)}
GROUNDS = {"white": (250, 250, 250), "black": (20, 20, 20), "grey": (128, 128, 128)}
COUNTS = {"two": (-0.5, 0.5), "three": (-0.6, 0.0, 0.6)}
TRAIN, TEST, UNSEEN = 4000, 600, 400
SIDE, FINER = 32, 2  # pixels, and how many times finer they are drawn
JITTER = 0.12
STRIPE = 2  # pixels of a diagonal from the edge of a stripe to the next edge


class Drawn(NamedTuple):
    """pictures (n, 3, 32, 32) uint8; captions; what they show, by name (arrangements: a place, or a count of more than one); splits: train, test, and
    `unseen`, of shapes in colours that no training picture shows together."""

    pictures: Tensor
    captions: list[str]
    arrangements: list[str]
    sizes: list[str]
    colours: list[str]
    shapes: list[str]
    grounds: list[str]
    splits: list[str]


def unseen(shape: str, colour: str) -> bool:
    """Whether no training picture has this shape in this colour."""
    return SHAPES.index(shape) == list(COLOURS).index(colour)


def drawn(train: int = TRAIN, test: int = TEST, held_out: int = UNSEEN, seed: int = 0, striped: bool = False) -> Drawn:
    """So many pictures for each split, the same for the same seed. striped: shapes are made of diagonal stripes, and not filled."""
    splits = ["train"] * train + ["test"] * test + ["unseen"] * held_out
    generator = torch.Generator().manual_seed(seed)

    def choose(names: object) -> list[str]:
        options = list(names)  # type: ignore[call-overload]
        return [options[place] for place in torch.randint(len(options), (len(splits),), generator=generator).tolist()]

    pairs = {apart: [(shape, colour) for shape in SHAPES for colour in COLOURS if unseen(shape, colour) == apart] for apart in (False, True)}
    places = torch.rand(len(splits), generator=generator).tolist()
    chosen = [pairs[split == "unseen"][int(place * len(pairs[split == "unseen"]))] for split, place in zip(splits, places, strict=True)]
    shapes, colours = [shape for shape, _ in chosen], [colour for _, colour in chosen]
    sizes, grounds, arrangements = choose(SIZES), choose(GROUNDS), choose((*PLACES, *COUNTS))
    attributes = arrangements, sizes, colours, shapes, grounds
    captions = [caption(*one) for one in zip(*attributes, strict=True)]
    shift = JITTER * (2 * torch.rand(len(splits), 2, generator=generator) - 1)
    return Drawn(pictures(*attributes, shift, striped), captions, *attributes, splits)


def caption(arrangement: str, size: str, colour: str, shape: str, ground: str) -> str:
    """Such as "a small red square at the left on white", or "three large blue crosses on grey"."""
    if arrangement in COUNTS:
        return f"{arrangement} {size} {colour} {shape}{'es' if shape == 'cross' else 's'} on {ground}"
    return f"a {size} {colour} {shape} {'in' if arrangement == 'middle' else 'at'} the {arrangement} on {ground}"


def pictures(
    arrangements: list[str], sizes: list[str], colours: list[str], shapes: list[str], grounds: list[str], shift: Tensor, striped: bool = False
) -> Tensor:
    """(n, 3, 32, 32) uint8. shift: (n, 2) of the middle, in halves of a side."""
    line = (torch.arange(SIDE * FINER) + 0.5) / (SIDE * FINER) * 2 - 1
    inside = torch.zeros(len(shapes), SIDE * FINER, SIDE * FINER, dtype=torch.bool)
    for row, (shape, size, arrangement) in enumerate(zip(shapes, sizes, arrangements, strict=True)):
        middles = [(x, 0.0) for x in COUNTS[arrangement]] if arrangement in COUNTS else [PLACES[arrangement]]
        radius = SIZES[size] * (0.75 if arrangement in COUNTS else 1)
        for x, y in middles:
            across, down = (line - x - shift[row, 0]) / radius, (line - y - shift[row, 1])[:, None] / radius
            inside[row] |= covered(shape, across, down)
    if striped:
        pixel = torch.arange(SIDE * FINER) // FINER
        inside &= (pixel + pixel[:, None]) % (2 * STRIPE) < STRIPE
    share = avg_pool2d(inside[:, None].float(), FINER)
    front, back = (torch.tensor([table[name] for name in names])[:, :, None, None] for table, names in ((COLOURS, colours), (GROUNDS, grounds)))
    return (share * front + (1 - share) * back).round().to(torch.uint8)


def covered(shape: str, x: Tensor, y: Tensor) -> Tensor:
    """Where a shape of radius 1 around the middle lies."""
    distance = x.square() + y.square()
    return {
        "circle": lambda: distance <= 1,
        "square": lambda: (x.abs() <= 0.9) & (y.abs() <= 0.9),
        "triangle": lambda: (y <= 0.8) & (y >= 2 * x.abs() * 0.9 - 1),
        "cross": lambda: ((x.abs() <= 0.3) & (y.abs() <= 1)) | ((y.abs() <= 0.3) & (x.abs() <= 1)),
        "ring": lambda: (distance <= 1) & (distance >= 0.36),
    }[shape]()
