from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from leaven.errors import UserError
from leaven.evaluation.frozen import Features, FrozenProtocol
from leaven.evaluation.protocol import Chart
from leaven.evaluation.retrieval import AT, retrieval, rows_among_first


@dataclass(frozen=True)
class Retrieval(FrozenProtocol):
    """How well each test sample finds the training samples of its class by the cosine of features: mean average precision.

    at: numbers of nearest samples, among which precision and recall are measured.
    """

    name = "retrieval"
    title = "retrieval (mAP)"
    headline = "map"

    at: tuple[int, ...] = AT

    def __post_init__(self) -> None:
        if not self.at or min(self.at) < 1:
            raise UserError(f"retrieval.at must be numbers of 1 or more, not {list(self.at)}")

    def score(self, features: Features) -> Any:
        return retrieval(features.train, features.train_labels, features.test, features.test_labels, at=self.at, seed=features.seed)

    def rows(self, arms: Sequence[Any]) -> list[list[str]]:
        return super().rows(arms) + rows_among_first(arms, "precision", "precision at") + rows_among_first(arms, "ndcg", "nDCG at")

    def figure(self, arms: Mapping[str, Any]) -> Chart:
        return Chart(
            "Search by features",
            "Each test sample is a query, and the training samples of its class are what it should find. The line shows how many of the nearest "
            "samples are right as more and more of the class is found. Bars are 95 % intervals over queries.",
            "share of a query's class that is found (recall)",
            "share that is right (precision)",
            {arm: [(point["recall"], point["precision"], point["interval"]) for point in score["curve"]] for arm, score in arms.items()},
            percent="xy",
        )
