"""The class of each sample, as a target."""

from dataclasses import dataclass

from torch import Tensor

from leaven.modalities.modality import Modality
from leaven.modalities.value import Value


@dataclass(frozen=True, eq=False)
class Label(Value):
    """Class ids (B,) int64; -1 where a sample has no label."""

    modality = "label"
    ids: Tensor


class LabelModality(Modality):
    """Classes. Their number and names stand in `DataSpec`, beside the roles."""

    name, noun, plural, values, target = "label", "label", "labels", (Label,), True
