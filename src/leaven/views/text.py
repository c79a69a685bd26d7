"""Random views of text, in tokens."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from leaven.draw import Draw
from leaven.modalities import Tokens
from leaven.views.views import Views


@dataclass(frozen=True)
class TextViews(Views):
    """Tokens deleted, and exchanged with a neighbour, by chance (Wei and Zou 2019). The first and the last one, which begin and end a text, stay, and
    no text loses all the others.

    max_length: tokens that are drawn for in every text, so that parts of a batch get the views of the whole (None: as many as the batch has).
    """

    kind = "text"
    modality = "text"
    aliases: ClassVar[dict[str, str]] = {"longest": "max_length"}

    drop: float = 0.1
    swap: float = 0.0
    max_length: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_probabilities("drop", "swap")

    def fitted(self, shape: tuple[int, ...], patch: int) -> TextViews:
        return dataclasses.replace(self, max_length=shape[0])

    def view(self, value: Tokens, number: int, draw: Draw) -> Tokens:
        """Tokens with the ids (B, T) in their new order, and a mask that is true where a token stays."""
        ids, mask = value.ids, value.mask
        place = torch.arange(mask.shape[1], device=mask.device)
        inside = mask & (place > 0) & (place < mask.sum(1, keepdim=True) - 1)
        if self.swap:
            odd = draw.child("odd", number).integers(2, len(mask), 1).to(mask.device)  # tokens are paired with their next, or with their last
            first = self._chosen(draw.child("swap", number), self.swap, mask) & (place % 2 == odd) & inside & inside.roll(-1, 1)
            ids = ids.gather(1, place + first.long() - first.roll(1, 1).long())
        if self.drop:
            kept = ~(self._chosen(draw.child("drop", number), self.drop, mask) & inside)
            emptied = ~(kept & inside).any(dim=1, keepdim=True)
            mask = mask & (kept | emptied)
        return Tokens(ids, mask)

    def _chosen(self, draw: Draw, share: float, mask: Tensor) -> Tensor:
        length = mask.shape[1]
        return draw.chance(share, len(mask), max(self.max_length or 0, length))[:, :length].to(mask.device)
