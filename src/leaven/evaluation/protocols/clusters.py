from typing import Any

import numpy as np
from jaxtyping import Float, Int64
from torch import Tensor

from leaven.errors import UserError
from leaven.evaluation.frozen import Features, FrozenProtocol
from leaven.evaluation.intervals import Groups, percentile_interval, resampled
from leaven.evaluation.knn import unit_rows

STARTS = 5


class Clusters(FrozenProtocol):
    """How well k-means clusters of the test samples' features, as many as there are classes, agree with the classes."""

    name = "clusters"
    title = "clusters (V-measure)"
    headline = "v_measure"

    def score(self, features: Features) -> Any:
        return clusters(features.test, features.test_labels, groups=features.test_groups, seed=features.seed)


def clusters(features: Float[Tensor, "samples dim"], labels: Int64[Tensor, " samples"], *, groups: Groups = None, seed: int = 0) -> dict[str, Any]:
    """{v_measure, interval, clusters, samples} of k-means of the features at unit length; samples labeled -1 (none) are left out.

    The best of five starts (by inertia) counts. Interval: bootstrap over samples, or groups, with the clusters kept. UserError for fewer than two
    classes.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics.cluster import contingency_matrix

    known = labels >= 0
    classes, rows = labels[known].numpy(), unit_rows(features[known]).numpy()
    count = len(np.unique(classes))
    if count < 2:
        raise UserError("clusters are compared with classes, and there are fewer than two")
    assigned = KMeans(count, n_init=STARTS, random_state=seed).fit_predict(rows)
    table, groups = contingency_matrix(classes, assigned), None if groups is None else groups[known]
    cell = np.unique(classes, return_inverse=True)[1] * table.shape[1] + np.unique(assigned, return_inverse=True)[1]
    tables = (np.bincount(cell, times, table.size).reshape(table.shape) for times in resampled(len(cell), groups=groups, seed=seed))
    interval = percentile_interval([v_measure(counts) for counts in tables], groups=groups)
    return {"v_measure": v_measure(table), "interval": list(interval), "clusters": count, "samples": len(classes)}


def v_measure(table: np.ndarray) -> float:
    """The harmonic mean of homogeneity (a cluster holds one class) and completeness (a class lies in one cluster), from the counts (classes,
    clusters): 0 where one says nothing about the other, 1 where they are the same (Rosenberg and Hirschberg 2007)."""
    both, classes, groups = (entropy(counts) for counts in (table, table.sum(1), table.sum(0)))
    return 2 * (classes + groups - both) / (classes + groups) if classes + groups else 1.0


def entropy(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())
