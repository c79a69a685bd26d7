"""Search by features: every test sample asks the training samples, and those of its class are what it should find."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from leaven.errors import UserError
from leaven.evaluation.intervals import bootstrap_intervals
from leaven.evaluation.knn import SIMILARITIES_AT_ONCE, unit_rows

AT = (1, 10, 100)
RECALLS = tuple(level / 10 for level in range(11))
STEPS = 2**28  # to which 1 - cosine is rounded: as fine as fp32 products are


class Found(NamedTuple):
    """For each query: average precision; precision among the first `AT` (as far as there are training samples); precision at `RECALLS`."""

    average: Float[np.ndarray, " queries"]
    first: Float[np.ndarray, "queries at"]
    curve: Float[np.ndarray, "queries levels"]


def retrieval(
    train_features: Float[Tensor, "train dim"],
    train_labels: Int64[Tensor, " train"],
    test_features: Float[Tensor, "test dim"],
    test_labels: Int64[Tensor, " test"],
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """Mean average precision over queries by cosine, as {map, interval, precision: [{at, precision, interval}], curve: [{recall, precision,
    interval}], queries} and a note where queries were left out.

    Samples labeled -1 (none) are left out on both sides, and queries of a class that no training sample has. Intervals: 95 %, bootstrap over queries.
    Precision at a recall is interpolated: the highest at this recall or a larger one (Manning et al. 2008, section 8.4). Raises UserError without
    queries.
    """
    known = train_labels >= 0
    train_features, train_labels = train_features[known], train_labels[known]
    there = torch.isin(test_labels, train_labels)
    if not there.any():
        raise UserError("no labels to search by", hint="give labels for some training and some test samples")
    found = search(train_features, train_labels, test_features[there], test_labels[there])
    columns = np.column_stack([found.average, found.first, found.curve])
    intervals = [list(interval) for interval in bootstrap_intervals(torch.from_numpy(columns), seed=seed)]
    means = columns.mean(axis=0).tolist()
    at = [count for count in AT if count <= len(train_labels)]
    score: dict[str, Any] = {
        "map": means[0],
        "interval": intervals[0],
        "precision": [
            {"at": count, "precision": mean, "interval": interval} for count, mean, interval in zip(at, means[1:], intervals[1:], strict=False)
        ],
        "curve": [
            {"recall": level, "precision": mean, "interval": interval}
            for level, mean, interval in zip(RECALLS, means[1 + len(at) :], intervals[1 + len(at) :], strict=True)
        ],
        "queries": len(columns),
    }
    if left := int(((test_labels >= 0) & ~there).sum()):
        score["note"] = f"queries left out, since no training sample is of their class: {left:,}"
    return score


def search(train: Float[Tensor, "train dim"], train_labels: Tensor, queries: Float[Tensor, "queries dim"], query_labels: Tensor) -> Found:
    """What each query finds. Training samples that are equally near count together, as in scikit-learn's `average_precision_score`.

    Each query's class must be that of a training sample. Queries of one class are asked together, a block at a time.
    """
    train, queries = unit_rows(train), unit_rows(queries)
    at = [count for count in AT if count <= len(train)]
    found = Found(np.empty(len(queries)), np.empty((len(queries), len(at))), np.empty((len(queries), len(RECALLS))))
    for label in query_labels.unique():
        relevant = (train_labels == label).int()
        for rows in (query_labels == label).nonzero().flatten().split(max(1, SIMILARITIES_AT_ONCE // len(train))):
            distance = (1 - queries[rows] @ train.T).clamp_(0, 2)
            part = ranked(distance.mul_(STEPS).int(), relevant, at)
            for whole, block in zip(found, part, strict=True):
                whole[rows.numpy()] = block
    return found


def ranked(distance: Tensor, relevant: Tensor, at: list[int]) -> Found:
    """distance: (queries, train) int32 from 0; relevant: (train,) int32, 1 where a training sample should be found."""
    keys = (distance * 2 + relevant).cpu().numpy()
    keys.sort(axis=1)  # nearest first; of those equally near, the relevant ones last
    places = np.nonzero(keys & 1)[1].reshape(len(keys), -1)
    distances = keys >> 1
    near = np.take_along_axis(distances, places, axis=1)
    count = places.shape[1]
    last = np.where(np.diff(near, axis=1, append=-1) != 0, np.arange(count), count)  # the last relevant one that is equally near
    last = np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]
    precision = (last + 1) / (np.take_along_axis(places, last, axis=1) + 1)
    highest = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    levels = [max(0, int(np.ceil(level * count - 1e-9)) - 1) for level in RECALLS]
    first = np.empty((len(keys), len(at)))
    for column, cut in enumerate(at):
        border = distances[:, cut - 1 : cut]
        start, end = (distances < border).sum(1), (distances <= border).sum(1)
        before, within = ((places < edge[:, None]).sum(1) for edge in (start, end))
        first[:, column] = (before + (within - before) * (cut - start) / (end - start)) / cut  # what a random order of the equally near gives
    return Found(precision.mean(axis=1), first, highest[:, levels])
