"""What names a sample: what classes and tags have in common."""

from __future__ import annotations

from abc import abstractmethod

from jaxtyping import Bool, Int64
from torch import Tensor

from leaven.modalities.modality import Modality


class Naming(Modality):
    """A target that names samples. The names stand in `DataSpec`, beside the roles."""

    target = True

    @abstractmethod
    def known(self, target: Tensor) -> Bool[Tensor, " samples"]:
        """Which samples have a label."""

    @abstractmethod
    def counts(self, target: Tensor, names: int) -> Int64[Tensor, " names"]:
        """How many samples have each name."""

    @abstractmethod
    def strata(self, target: Tensor) -> Int64[Tensor, " samples"]:
        """A number for each sample; of samples with the same number a part is held out as of any other."""
