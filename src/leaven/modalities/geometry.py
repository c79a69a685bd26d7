"""How a view moved what lies in each picture, so that boxes and masks move along."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Geometry:
    """A crop of each sample, resized to `size`, then mirrored left to right, then turned counter-clockwise by quarters.

    top, left, height, width: the crop in pixels of the input. size: (height, width) of the output. flip: None where no sample is mirrored.
    quarter_turns: 0 to 3; None where no sample is turned. Only square pictures are turned.
    """

    top: Int[Tensor, " batch"]
    left: Int[Tensor, " batch"]
    height: Int[Tensor, " batch"]
    width: Int[Tensor, " batch"]
    size: tuple[int, int]
    flip: Bool[Tensor, " batch"] | None = None
    quarter_turns: Int[Tensor, " batch"] | None = None

    @classmethod
    def whole(cls, count: int, sides: tuple[int, int], size: tuple[int, int] | None = None, quarter_turns: Tensor | None = None) -> Geometry:
        """The whole picture of these sides, resized to `size` (None: not resized)."""
        zero = torch.zeros(count, dtype=torch.int64)
        return cls(zero, zero, zero + sides[0], zero + sides[1], size or sides, quarter_turns=quarter_turns)

    def to(self, device: torch.device | str) -> Geometry:
        moved = {name: part.to(device) for name, part in vars(self).items() if isinstance(part, Tensor)}
        return Geometry(**{**vars(self), **moved})
