"""Random views of plain numbers, and of bags of words."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from leaven.draw import Draw
from leaven.modalities import Counts, Vector
from leaven.views.views import Views


@dataclass(frozen=True)
class VectorViews(Views):
    """Gaussian noise, as a share of each column's standard deviation in the training data, and numbers set to their column's mean by chance.

    Without an encoder, which knows these, the deviation is that of the sample's own numbers (a batch's would depend on how it is cut into parts),
    and numbers are set to 0. Whole numbers become float32.
    """

    kind = "vectors"
    modality = "vector"

    noise: float = 0.1
    drop: float = 0.2
    columns: ClassVar[tuple[torch.Tensor, torch.Tensor] | None] = None
    """Mean and deviation of each column, where they are known."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_not_negative("noise")
        self._require_probabilities("drop")

    def scaled(self, mean: Sequence[float], std: Sequence[float]) -> VectorViews:
        views = copy.copy(self)
        if mean and std:
            object.__setattr__(views, "columns", (torch.tensor(mean), torch.tensor(std)))
        return views

    def view(self, value: Vector, number: int, draw: Draw) -> Vector:
        x = value.numbers if value.numbers.is_floating_point() else value.numbers.float()
        mean, std = (known.to(x) for known in self.columns) if self.columns else (torch.zeros_like(x), x.std(dim=1, keepdim=True, correction=0))
        if self.noise:
            noise = draw.child("noise", number).normal(*x.shape).to(x)
            x = x + self.noise * std * noise
        if self.drop:
            x = torch.where(draw.child("drop", number).chance(self.drop, *x.shape).to(x.device), mean, x)
        return Vector(x.clone() if self.noise == self.drop == 0 else x)


@dataclass(frozen=True)
class CountViews(Views):
    """Words left out by chance, with all that they count. A text never loses all its words."""

    kind = "counts"
    modality = "counts"

    drop: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_probabilities("drop")

    def view(self, value: Counts, number: int, draw: Draw) -> Counts:
        counts = value.counts
        if not self.drop:
            return Counts(counts.clone())
        kept = counts * ~draw.child("drop", number).chance(self.drop, *counts.shape).to(counts.device)
        return Counts(torch.where(kept.any(dim=1, keepdim=True), kept, counts))
