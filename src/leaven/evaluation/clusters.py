"""Groups that are found without labels, and how well they agree with the classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int64
from torch import Tensor

from leaven.errors import UserError
from leaven.evaluation.knn import unit_rows

STARTS, RESAMPLES = 5, 1000


def clusters(features: Float[Tensor, "samples dim"], labels: Int64[Tensor, " samples"], *, seed: int = 0) -> dict[str, Any]:
    """k-means of the features at unit length, with as many clusters as there are classes, as {v_measure, interval, clusters, samples}.

    Of five starts the one with the least inertia counts. Interval: 95 %, bootstrap over samples, the clusters as they were found. Samples labeled -1
    (none) are left out. Raises UserError for fewer than two classes.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics.cluster import contingency_matrix

    known = labels >= 0
    truth, rows = labels[known].numpy(), unit_rows(features[known]).numpy()
    count = len(np.unique(truth))
    if count < 2:
        raise UserError("clusters are compared with classes, and there are fewer than two")
    found = KMeans(count, n_init=STARTS, random_state=seed).fit_predict(rows)
    table = contingency_matrix(truth, found)
    again = np.random.default_rng(seed).multinomial(len(truth), table.ravel() / len(truth), size=RESAMPLES)
    low, high = np.quantile([v_measure(each.reshape(table.shape)) for each in again], [0.025, 0.975])
    return {"v_measure": v_measure(table), "interval": [float(low), float(high)], "clusters": count, "samples": len(truth)}


def v_measure(table: np.ndarray) -> float:
    """The harmonic mean of homogeneity (a cluster holds one class) and completeness (a class lies in one cluster), of the counts of (classes,
    clusters): 0 where they tell nothing of each other, 1 where they are the same (Rosenberg and Hirschberg 2007)."""
    both, classes, groups = (entropy(counts) for counts in (table, table.sum(1), table.sum(0)))
    return 2 * (classes + groups - both) / (classes + groups) if classes + groups else 1.0


def entropy(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())
