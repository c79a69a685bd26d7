from dataclasses import dataclass
from typing import Any

import torch

from leaven.errors import UserError
from leaven.evaluation.floors import MAJORITY, UNTRAINED
from leaven.evaluation.frozen import Features
from leaven.evaluation.protocols.few_label import FewLabels, few_label_point, label_draws
from leaven.evaluation.spreading import SPREADINGS, neighbour_graph, spread
from leaven.modalities.floor import INPUT


@dataclass(frozen=True)
class Spread(FewLabels):
    """Accuracy of a few labels per class that spread over the graph of nearest neighbours of all samples, labeled or not (Calder et al. 2020).

    counts: labels per class. draws: how many times labels are drawn for each count. by: "poisson", "laplace" or "spreading". k: neighbours of each
    sample.
    """

    name = "spread"
    title = "few labels, spread"
    floors = (INPUT, UNTRAINED, MAJORITY)
    probes = ()
    rank = 12

    counts: tuple[int, ...] = (1, 2, 3, 4, 5)
    by: str = "poisson"
    k: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.by not in SPREADINGS or self.k < 1:
            raise UserError(f"spread has no {self.by!r} over {self.k} neighbours", hint=f"by is one of {', '.join(SPREADINGS)}, and k is 1 or more")

    def score(self, features: Features) -> Any:
        """[{labels_per_class, accuracy, interval, draws}]: test samples are part of the graph, without their labels."""
        known = features.labeled()
        graph = neighbour_graph(torch.cat([features.train, known.test]), self.k)
        curve = []
        for count in self.counts:
            predictions = []
            for rows in label_draws(features.train_labels, count, self.draws, features.seed):
                labels = torch.full((graph.shape[0],), -1)
                labels[rows] = features.train_labels[rows]
                predictions.append(spread(graph, labels, features.classes, self.by)[len(features.train) :].argmax(1))
            correct = torch.stack(predictions) == known.test_labels
            curve.append(few_label_point(correct, count, features.train_labels, known.test_groups))
        return curve
