"""The class of each sample, as a target."""

from dataclasses import dataclass

from jaxtyping import Bool, Int64
from torch import Tensor

from leaven.modalities.naming import Naming
from leaven.modalities.value import Value


@dataclass(frozen=True, eq=False)
class Label(Value):
    """Class ids (B,) int64; -1 where a sample has no label."""

    modality = "label"
    ids: Tensor


class LabelModality(Naming):
    """One class per sample."""

    name, noun, plural, values = "label", "label", "labels", (Label,)

    def known(self, target: Tensor) -> Bool[Tensor, " samples"]:
        return target >= 0

    def counts(self, target: Tensor, names: int) -> Int64[Tensor, " names"]:
        return target[target >= 0].bincount(minlength=names)

    def strata(self, target: Tensor) -> Int64[Tensor, " samples"]:
        return target
