"""Random views of bags of words."""

from dataclasses import dataclass

import torch

from leaven.draw import Draw
from leaven.modalities import Counts
from leaven.views.views import Views


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
