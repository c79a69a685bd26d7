"""Random views of plain numbers, and of bags of words."""

from dataclasses import dataclass

import torch

from leaven.draw import Draw
from leaven.modalities import Counts, Vector
from leaven.views.views import Views


@dataclass(frozen=True)
class VectorViews(Views):
    """Gaussian noise, as a share of the standard deviation of the sample's own numbers, and features set to 0 by chance.

    The deviation is the sample's own since one of the batch would depend on how the batch is cut into parts. Whole numbers become float32.
    """

    kind = "vectors"
    modality = "vector"

    noise: float = 0.1
    drop: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_not_negative("noise")
        self._require_probabilities("drop")

    def view(self, value: Vector, number: int, draw: Draw) -> Vector:
        x = value.numbers if value.numbers.is_floating_point() else value.numbers.float()
        if self.noise:
            noise = draw.child("noise", number).normal(*x.shape).to(x)
            x = x + self.noise * x.std(dim=1, keepdim=True, correction=0) * noise
        if self.drop:
            x = x * ~draw.child("drop", number).chance(self.drop, *x.shape).to(x.device)
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
