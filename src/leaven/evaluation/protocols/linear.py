from typing import Any

from leaven.evaluation.frozen import Features, FrozenProtocol
from leaven.evaluation.linear import linear_accuracy


class LinearProbe(FrozenProtocol):
    """The share of test samples that logistic regression on the features names correctly, its L2 strength chosen on held-out training samples."""

    name = "linear"
    title = "linear probe"
    rank = 2

    def score(self, features: Features) -> Any:
        return linear_accuracy(features.train, features.train_labels, features.test, features.test_labels, groups=features.groups)
