"""Random views of plain numbers."""

from dataclasses import dataclass

import torch
from torch import Tensor

from leaven.draw import Draw
from leaven.modalities import Value, Vector
from leaven.views.views import Views, is_number


@dataclass(frozen=True)
class VectorViews(Views):
    """Gaussian noise, as a share of the standard deviation of the sample's own numbers, and features set to 0 by chance.

    The deviation is the sample's own since one of the batch would depend on how the batch is cut into parts.
    """

    kind = "vectors"
    modality = "vector"

    count: int = 2
    noise: float = 0.1
    drop: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_count()
        self._require("noise", is_number(self.noise) and self.noise >= 0, "a number from 0")
        self._require_probabilities("drop")

    def __call__(self, value: Value, draw: Draw) -> list[Value]:
        """`count` views: Vector, (B, D) of the input's float type (float32 for whole numbers)."""
        self._expect(value)
        assert isinstance(value, Vector)
        numbers = value.numbers if value.numbers.is_floating_point() else value.numbers.float()
        with torch.no_grad():
            return [Vector(self._view(numbers, view, draw)) for view in range(self.count)]

    def _view(self, x: Tensor, view: int, draw: Draw) -> Tensor:
        rows, dim = x.shape
        if self.noise:
            noise = draw.child("noise", view).normal(rows, dim).to(x)
            x = x + self.noise * x.std(dim=1, keepdim=True, correction=0) * noise
        if self.drop:
            x = x * ~draw.child("drop", view).chance(self.drop, rows, dim).to(x.device)
        return x.clone() if self.noise == self.drop == 0 else x
