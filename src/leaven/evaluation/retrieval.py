"""Search by features: every test sample asks the training samples, and those of its class are what it should find."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from leaven.errors import UserError
from leaven.evaluation.intervals import bootstrap_intervals
from leaven.evaluation.knn import SIMILARITIES_AT_ONCE, unit_rows
from leaven.evaluation.protocol import share_cell

AT = (1, 10, 100)
GAIN_AT = 10
RECALLS = tuple(level / 10 for level in range(11))
STEPS = 2**28  # to which 1 - cosine is rounded: as fine as fp32 products are


class Ranking(NamedTuple):
    """For each query: average precision; precision and recall among the first `at`; precision at `RECALLS`; nDCG of the first ten."""

    average: Float[np.ndarray, " queries"]
    first: Float[np.ndarray, "queries at"]
    recall: Float[np.ndarray, "queries at"]
    curve: Float[np.ndarray, "queries levels"]
    gain: Float[np.ndarray, " queries"]


def retrieval(
    train_features: Float[Tensor, "train dim"],
    train_labels: Int64[Tensor, " train"],
    test_features: Float[Tensor, "test dim"],
    test_labels: Int64[Tensor, " test"],
    *,
    at: Sequence[int] = AT,
    seed: int = 0,
) -> dict[str, Any]:
    """Mean average precision over queries by cosine, as {map, interval, precision: [{at, precision, interval}], recall: [{at, recall, interval}],
    curve: [{recall, precision, interval}], ndcg: [{at, ndcg, interval}], queries} and a note where queries were left out.

    Samples labeled -1 (none) are left out on both sides, and queries of a class that no training sample has. Intervals: 95 %, bootstrap over queries.
    Precision at a recall is interpolated: the highest at this recall or a larger one (Manning et al. 2008, section 8.4). nDCG: of the first ten, the
    sum of 1 / log2(1 + place) over those that should be found, as a share of the largest that it can be (Jarvelin and Kekalainen 2002). Raises
    UserError without queries.
    """
    known = train_labels >= 0
    train_features, train_labels = train_features[known], train_labels[known]
    there = torch.isin(test_labels, train_labels)
    if not there.any():
        raise UserError("no labels to search by", hint="give labels for some training and some test samples")
    at = cuts(at, len(train_labels))
    score = summarize(search(train_features, train_labels, test_features[there], test_labels[there], at), at, seed)
    if left_out := int(((test_labels >= 0) & ~there).sum()):
        score["note"] = f"queries left out, since no training sample is of their class: {left_out:,}"
    return score


def cuts(at: Sequence[int], count: int) -> list[int]:
    """The numbers of first samples to look at, as far as there are so many samples."""
    return [cut for cut in at if cut <= count]


def summarize(ranking: Ranking, at: Sequence[int], seed: int) -> dict[str, Any]:
    """Means over queries with their intervals, in the shape that `retrieval` gives. at: as it was for the ranking."""
    columns = np.column_stack([*ranking])
    intervals = [list(interval) for interval in bootstrap_intervals(torch.from_numpy(columns), seed=seed)]
    means = zip(columns.mean(axis=0).tolist(), intervals, strict=True)

    def points(key: str, places: Sequence[float], name: str) -> list[dict[str, Any]]:
        return [{key: place, name: mean, "interval": interval} for place, (mean, interval) in zip(places, means, strict=False)]

    score: dict[str, Any] = dict(zip(("map", "interval"), next(means), strict=True))
    score["precision"] = points("at", at, "precision")
    score["recall"] = points("at", at, "recall")
    score["curve"] = points("recall", RECALLS, "precision")
    score["ndcg"] = points("at", [GAIN_AT], "ndcg")
    score["queries"] = len(columns)
    return score


def rows_among_first(arms: Sequence[Mapping[str, Any] | None], measure: str, title: str) -> list[list[str]]:
    """Rows of a scorecard's table: what was measured among the first samples."""
    places: list[Any] = (arms[0] or {}).get(measure, [])
    columns = [{point["at"]: point for point in (arm or {}).get(measure, [])} for arm in arms]
    return [[f"{title} {place['at']}", *(share_cell(column.get(place["at"]), measure) for column in columns)] for place in places]


def search(
    train: Float[Tensor, "train dim"], train_labels: Tensor, queries: Float[Tensor, "queries dim"], query_labels: Tensor, at: Sequence[int] = AT
) -> Ranking:
    """How the training samples are ranked by cosine for each query: see `searched`."""
    train, queries = unit_rows(train), unit_rows(queries)
    return searched(lambda rows: queries[rows] @ train.T, train_labels, query_labels, at)


def searched(cosine: Callable[[Tensor], Float[Tensor, "some train"]], train_labels: Tensor, query_labels: Tensor, at: Sequence[int] = AT) -> Ranking:
    """How the training samples are ranked for each query. Equally near ones count together, as in scikit-learn's `average_precision_score`.

    cosine: from some queries (rows) to their cosines with all training samples. Each query's class must be that of a training sample. Queries of one
    class are ranked together, a block at a time.
    """
    count = len(train_labels)
    at = cuts(at, count)
    ranking = Ranking(*(np.empty((len(query_labels), *wide)) for wide in ((), (len(at),), (len(at),), (len(RECALLS),), ())))
    for label in query_labels.unique():
        relevant = (train_labels == label).int()
        for rows in (query_labels == label).nonzero().flatten().split(max(1, SIMILARITIES_AT_ONCE // count)):
            distance = (1 - cosine(rows)).clamp_(0, 2)
            part = ranked(distance.mul_(STEPS).int(), relevant, at)
            for whole, block in zip(ranking, part, strict=True):
                whole[rows.numpy()] = block
    return ranking


def ranked(distance: Tensor, relevant: Tensor, at: Sequence[int]) -> Ranking:
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
    hits = np.stack([among_first(cut, distances, places) for cut in at], 1) if at else np.empty((len(keys), 0))
    top = min(GAIN_AT, len(relevant))
    gains = np.diff(np.stack([among_first(cut, distances, places) for cut in range(1, top + 1)], 1), axis=1, prepend=0)
    discount = 1 / np.log2(np.arange(top) + 2)
    gain = gains @ discount / discount[: min(count, top)].sum()
    return Ranking(precision.mean(axis=1), hits / np.array(at), hits / count, highest[:, levels], gain)


def among_first(cut: int, distances: np.ndarray, places: np.ndarray) -> Float[np.ndarray, " queries"]:
    """How many relevant ones are among the first; of those equally near at the cut, as many as a random order of them gives. distances: (queries,
    train), nearest first. places: (queries, relevant) of the relevant ones among them, in order."""
    border = distances[:, cut - 1 : cut]
    start, end = (distances < border).sum(1), (distances <= border).sum(1)
    before, within = ((places < edge[:, None]).sum(1) for edge in (start, end))
    return before + (within - before) * (cut - start) / (end - start)
