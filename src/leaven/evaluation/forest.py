"""A random forest, which learns from floors that are usually read by one."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

FOREST = "forest"
TREES, MOST_PER_TREE = 100, 20_000


def forest_scores(
    train: Float[Tensor, "train dim"], labels: Int64[Tensor, " train"], test: Float[Tensor, "test dim"], *, classes: int, seed: int
) -> Float[Tensor, "test classes"]:
    """The share of trees that name each class (Breiman 2001)."""
    from sklearn.ensemble import RandomForestClassifier

    most = MOST_PER_TREE if len(train) > MOST_PER_TREE else None
    forest = RandomForestClassifier(TREES, max_samples=most, random_state=seed).fit(train.numpy(), labels.numpy())
    scores = torch.zeros(len(test), classes)
    scores[:, torch.from_numpy(forest.classes_)] = torch.from_numpy(forest.predict_proba(test.numpy())).float()
    return scores
