from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from leaven.evaluation.frozen import Features, FrozenProtocol
from leaven.evaluation.knn import knn_accuracy


@dataclass(frozen=True)
class NearestNeighbours(FrozenProtocol):
    """The share of test samples whose nearest training samples vote for their class (Wu et al. 2018).

    k: how many neighbours vote. temperature: of their votes; lower gives the nearest more weight.
    """

    name = "knn"
    title = "nearest neighbours"
    rank = 1

    k: int = 20
    temperature: float = 0.07

    def score(self, features: Features) -> Any:
        return knn_accuracy(
            features.train, features.train_labels, features.test, features.test_labels, k=self.k, temperature=self.temperature
        )  # fmt: skip
