"""The tags of each sample, as a target: any number of them, or none."""

from dataclasses import dataclass

from jaxtyping import Bool, Int64
from torch import Tensor

from leaven.errors import UserError
from leaven.modalities.naming import Naming
from leaven.modalities.value import Value


@dataclass(frozen=True, eq=False)
class Tags(Value):
    """Which tags a sample has: present (B, tags) int8, 1 or 0; a row of -1 where a sample has no label, which is not the same as no tag."""

    modality = "tags"
    present: Tensor


class TagsModality(Naming):
    """Several tags per sample."""

    name, noun, plural, values = "tags", "list of tags", "lists of tags", (Tags,)

    def checked(self, value: Value, where: str) -> Value:
        present = value.main
        if (
            present.ndim != 2
            or not present.shape[1]
            or not ((present >= -1) & (present <= 1)).all()
            or ((present < 0).any(1) != (present < 0).all(1)).any()
        ):
            hint = "tags are (samples, tags) of 0 and 1; all of a row are -1 where a sample has no label"
            raise UserError(f"tags of shape {tuple(present.shape)} are not 0 and 1", where=where, hint=hint)
        return Tags(present.char())

    def known(self, target: Tensor) -> Bool[Tensor, " samples"]:
        return target[:, 0] >= 0

    def counts(self, target: Tensor, names: int) -> Int64[Tensor, " names"]:
        return (target > 0).sum(0)

    def strata(self, target: Tensor) -> Int64[Tensor, " samples"]:
        """The rarest tag of each sample, so that rare tags come on both sides."""
        present = target > 0
        rarity = present.sum(0).where(present, len(present) + 1)
        return rarity.argmin(1).where(present.any(1), present.shape[1])
