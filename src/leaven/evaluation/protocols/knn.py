from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from leaven.errors import UserError
from leaven.evaluation.frozen import Features, FrozenProtocol
from leaven.evaluation.intervals import bootstrap_interval
from leaven.evaluation.knn import nearest_neighbours


@dataclass(frozen=True)
class NearestNeighbours(FrozenProtocol):
    """The share of test samples whose nearest training samples vote for their class (Wu et al. 2018, section 3.4).

    k: how many neighbours vote. temperature: of their votes; lower gives the nearest more weight.
    """

    name = "knn"
    title = "nearest neighbours"
    rank = 1

    k: int = 20
    temperature: float = 0.07

    def __post_init__(self) -> None:
        if self.k < 1 or not self.temperature > 0:
            raise UserError(f"knn needs k of 1 or more and a temperature above 0, not {self.k} and {self.temperature}")

    def score(self, features: Features) -> Any:
        return knn_accuracy(features.train, features.train_labels, features.test, features.test_labels, k=self.k, temperature=self.temperature)


def knn_accuracy(
    train_features: Float[Tensor, "train dim"],
    train_labels: Int64[Tensor, train],
    test_features: Float[Tensor, "test dim"],
    test_labels: Int64[Tensor, test],
    *,
    k: int = 20,
    temperature: float = 0.07,
) -> dict[str, Any]:
    """{accuracy, interval, k, samples} and a note when k had to be reduced. Samples labeled -1 (none) are left out on both sides."""
    known, scored = train_labels >= 0, test_labels >= 0
    if not known.any() or not scored.any():
        raise UserError("no labels to score neighbours with", hint="give labels for some training and some test samples")
    classes = int(max(train_labels.max(), test_labels.max())) + 1
    train, labels = train_features[known], train_labels[known]
    correct = knn_predict(train, labels, test_features[scored], k=k, temperature=temperature, classes=classes) == test_labels[scored].cpu()
    used = min(k, len(train))
    score = {"accuracy": correct.double().mean().item(), "interval": list(bootstrap_interval(correct)), "k": used, "samples": len(correct)}
    return score | ({"note": f"k = {used} instead of {k}: there are no more training samples"} if used < k else {})


def knn_predict(
    train_features: Float[Tensor, "train dim"],
    train_labels: Int64[Tensor, train],
    test_features: Float[Tensor, "test dim"],
    *,
    k: int = 20,
    temperature: float = 0.07,
    classes: int,
) -> Int64[Tensor, test]:
    """The class (0 .. classes - 1) with the largest sum of exp(cosine / temperature) over the k nearest training samples, on the CPU. Equal votes
    go to the lower class."""
    similarity, index = nearest_neighbours(train_features, test_features, k=k)
    # Relative to the best neighbour, so that no temperature overflows; a common factor changes no vote.
    weights = ((similarity - similarity[:, :1]) / temperature).exp()
    return torch.zeros(len(index), classes).scatter_add_(1, train_labels.cpu()[index], weights).argmax(dim=1)
