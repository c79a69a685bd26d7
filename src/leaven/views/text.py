"""Random views of text."""

from __future__ import annotations

from dataclasses import dataclass

from leaven.data.batch import Tokens, Value
from leaven.data.draw import Draw
from leaven.views.views import Views


@dataclass(frozen=True)
class TextViews(Views):
    """Tokens deleted by chance: the mask hides them and their places stay. A text never loses all its tokens."""

    kind = "text"
    modality = "text"

    count: int = 2
    drop: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_count()
        self._require_probabilities("drop")

    def __call__(self, value: Value, draw: Draw) -> list[Value]:
        """`count` views: Tokens with the same ids (B, T) and a mask that is true where a token stays.

        Parts of one global batch must be padded to the same T to get the same views as the whole.
        """
        self._expect(value)
        assert isinstance(value, Tokens)
        views: list[Value] = []
        for view in range(self.count):
            mask = value.mask
            if self.drop:
                kept = mask & ~draw.child("drop", view).chance(self.drop, *mask.shape).to(mask.device)
                mask = kept | (mask & ~kept.any(dim=1, keepdim=True))
            views.append(Tokens(value.ids, mask))
        return views
