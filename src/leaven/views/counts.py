"""Random views of bags of words."""

from dataclasses import dataclass

import torch
from torch import Tensor

from leaven.draw import Draw
from leaven.modalities import Counts, Value
from leaven.views.views import Views


@dataclass(frozen=True)
class CountViews(Views):
    """Words left out by chance, with all that they count. A text never loses all its words."""

    kind = "counts"
    modality = "counts"

    count: int = 2
    drop: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_count()
        self._require_probabilities("drop")

    def __call__(self, value: Value, draw: Draw) -> list[Value]:
        """`count` views: Counts, (B, D) of the input's type."""
        self._expect(value)
        assert isinstance(value, Counts)
        with torch.no_grad():
            return [Counts(self._view(value.counts, view, draw)) for view in range(self.count)]

    def _view(self, counts: Tensor, view: int, draw: Draw) -> Tensor:
        if not self.drop:
            return counts.clone()
        kept = counts * ~draw.child("drop", view).chance(self.drop, *counts.shape).to(counts.device)
        return torch.where(kept.any(dim=1, keepdim=True), kept, counts)
