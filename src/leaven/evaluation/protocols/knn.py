from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from leaven.errors import UserError
from leaven.evaluation.floors import MAJORITY, UNTRAINED
from leaven.evaluation.frozen import Features, FrozenProtocol, accuracy_point
from leaven.evaluation.knn import nearest_neighbours
from leaven.modalities.floor import INPUT


@dataclass(frozen=True)
class NearestNeighbours(FrozenProtocol):
    """The share of test samples whose nearest training samples vote for their class (Wu et al. 2018, section 3.4).

    k: how many neighbours vote. temperature: of their votes; lower gives the nearest more weight.
    """

    name = "knn"
    title = "nearest neighbours"
    rank = 1
    floors = (INPUT, UNTRAINED, MAJORITY)

    k: int = 20
    temperature: float = 0.07

    def __post_init__(self) -> None:
        if self.k < 1 or not self.temperature > 0:
            raise UserError(f"knn needs k of 1 or more and a temperature above 0, not {self.k} and {self.temperature}")

    def score(self, features: Features) -> Any:
        """{accuracy, interval, k, samples} and a note when k had to be reduced."""
        known = features.labeled()
        used = min(self.k, len(known.train))
        score = accuracy_point(self.votes(known.train, known.train_labels, known.test), known) | {"k": used, "samples": len(known.test)}
        return score | ({"note": f"k = {used} instead of {self.k}: there are no more training samples"} if used < self.k else {})

    def predict(self, train: Float[Tensor, "train dim"], labels: Int64[Tensor, " train"], test: Float[Tensor, "test dim"]) -> Int64[Tensor, " test"]:
        """The class with the most votes. Equal votes go to the lower class."""
        return self.votes(train, labels, test).argmax(dim=1)

    def votes(
        self, train: Float[Tensor, "train dim"], labels: Int64[Tensor, " train"], test: Float[Tensor, "test dim"]
    ) -> Float[Tensor, "test classes"]:
        """The share of each class in the sum of exp(cosine / temperature) over the k nearest training samples."""
        similarity, index = nearest_neighbours(train, test, k=self.k)
        # Relative to the best neighbour, so that no temperature overflows; a common factor changes no vote.
        weights = ((similarity - similarity[:, :1]) / self.temperature).exp()
        return torch.zeros(len(index), int(labels.max()) + 1).scatter_add_(1, labels[index], weights / weights.sum(1, keepdim=True))
