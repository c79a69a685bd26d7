from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from leaven.errors import UserError
from leaven.evaluation.frozen import Features, FrozenProtocol
from leaven.evaluation.gains import PerSample
from leaven.evaluation.intervals import Groups, bootstrap_intervals
from leaven.evaluation.knn import SIMILARITIES_AT_ONCE, unit_rows
from leaven.evaluation.protocol import Chart, share_cell

AT = (1, 10, 100)
GAIN_AT = 10
RECALLS = tuple(level / 10 for level in range(11))
STEPS = 2**28  # to which 1 - cosine is rounded: as fine as fp32 products are


class Ranking(NamedTuple):
    """For each query: average precision; precision and recall among the first `at`; precision at `RECALLS`; nDCG of the first ten; whether any right
    one is among the first `at`; the place of the first right one, from 1."""

    average: Float[np.ndarray, " queries"]
    first: Float[np.ndarray, "queries at"]
    recall: Float[np.ndarray, "queries at"]
    curve: Float[np.ndarray, "queries levels"]
    gain: Float[np.ndarray, " queries"]
    found: Float[np.ndarray, "queries at"]
    place: Float[np.ndarray, " queries"]


@dataclass(frozen=True)
class Retrieval(FrozenProtocol):
    """How well each test sample finds the training samples of its class, or those that share a tag with it, by the cosine of features: mean average
    precision.

    at: numbers of nearest samples, among which precision and recall are measured.
    """

    name = "retrieval"
    title = "retrieval (mAP)"
    headline = "map"
    of_tags = True

    at: tuple[int, ...] = AT

    def __post_init__(self) -> None:
        if not self.at or min(self.at) < 1:
            raise UserError(f"retrieval.at must be numbers of 1 or more, not {list(self.at)}")

    def score(self, features: Features) -> Any:
        """{map, interval, precision: [{at, precision, interval}], recall: [{at, recall, interval}], curve: [{recall, precision, interval}],
        ndcg: [{at, ndcg, interval}], found: [{at, found, interval}], median_rank, queries} and a note where queries of a class that no training
        sample has were left out.

        Intervals: bootstrap over queries. Precision at a recall is interpolated: the highest at this recall or a larger one (Manning et al. 2008,
        section 8.4). nDCG: of the first ten, the sum of 1 / log2(1 + place) over those that should be found, as a share of the largest that it can be
        (Jarvelin and Kekalainen 2002). found: the share of queries with a right one among the first. median_rank: of the first right one.
        """
        known = features.labeled()
        tags = known.test_labels.ndim == 2
        there = alike(known.test_labels, (known.train_labels > 0).any(0)) if tags else torch.isin(known.test_labels, known.train_labels)
        if not there.any():
            raise UserError("no training sample is of the class of a test sample", hint="label some training samples of these classes")
        at = cuts(self.at, len(known.train))
        train, queries = unit_rows(known.train), unit_rows(known.test[there])
        ranking = rank_samples(lambda rows: queries[rows] @ train.T, known.train_labels, known.test_labels[there], at)
        groups = None if known.test_groups is None else known.test_groups[there]
        score = summarize(ranking, at, features.seed, groups) | {"per_sample": PerSample(torch.from_numpy(ranking.average), groups)}
        if left_out := int((~there).sum()):
            of_them = "has one of their tags" if tags else "is of their class"
            score["note"] = f"queries left out, since no training sample {of_them}: {left_out:,}"
        return score

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


def cuts(at: Sequence[int], count: int) -> list[int]:
    """The numbers of first samples to look at, as far as there are so many samples."""
    return [cut for cut in at if cut <= count]


def summarize(ranking: Ranking, at: Sequence[int], seed: int, groups: Groups = None) -> dict[str, Any]:
    """Means over queries with their intervals, in the shape of `Retrieval.score`. at: as it was for the ranking."""
    columns = np.column_stack([*ranking])
    intervals = [list(interval) for interval in bootstrap_intervals(torch.from_numpy(columns), groups=groups, seed=seed)]
    means = zip(columns.mean(axis=0).tolist(), intervals, strict=True)

    def points(key: str, places: Sequence[float], name: str) -> list[dict[str, Any]]:
        return [{key: place, name: mean, "interval": interval} for place, (mean, interval) in zip(places, means, strict=False)]

    score: dict[str, Any] = dict(zip(("map", "interval"), next(means), strict=True))
    score["precision"] = points("at", at, "precision")
    score["recall"] = points("at", at, "recall")
    score["curve"] = points("recall", RECALLS, "precision")
    score["ndcg"] = points("at", [GAIN_AT], "ndcg")
    score["found"] = points("at", at, "found")
    score["median_rank"] = float(np.median(ranking.place))
    score["queries"] = len(columns)
    return score


def rows_among_first(arms: Sequence[Mapping[str, Any] | None], measure: str, title: str) -> list[list[str]]:
    """Rows of a scorecard's table: what was measured among the first samples."""
    places: list[Any] = (arms[0] or {}).get(measure, [])
    columns = [{point["at"]: point for point in (arm or {}).get(measure, [])} for arm in arms]
    return [[f"{title} {place['at']}", *(share_cell(column.get(place["at"]), measure) for column in columns)] for place in places]


def alike(labels: Tensor, label: Tensor) -> Tensor:
    """(samples,) bool: which samples are of this class, or have one of these tags."""
    return ((labels > 0) & (label > 0)).any(1) if labels.ndim == 2 else labels == label


def rank_samples(
    cosine: Callable[[Tensor], Float[Tensor, "some train"]], train_labels: Tensor, query_labels: Tensor, at: Sequence[int] = AT
) -> Ranking:
    """How the training samples are ranked for each query. Equally near ones count together, as in scikit-learn's `average_precision_score`.

    cosine: from some queries (rows) to their cosines with all training samples. Each query should find the training samples of its class, or those
    that have one of its tags: one at least. Queries that should find the same are ranked together, a block at a time.
    """
    kinds, kind = query_labels.unique(dim=0, return_inverse=True)
    return rank_kinds(cosine, kind, lambda number: alike(train_labels, kinds[number]), len(train_labels), at)


def rank_kinds(
    cosine: Callable[[Tensor], Float[Tensor, "some train"]],
    kind: Tensor,
    relevant_to: Callable[[int], Tensor],
    count: int,
    at: Sequence[int] = AT,
) -> Ranking:
    """The same, where queries are of kinds from 0. relevant_to: which of the `count` training samples a kind should find, bool."""
    at = cuts(at, count)
    ranking = Ranking(*(np.empty((len(kind), *wide)) for wide in ((), (len(at),), (len(at),), (len(RECALLS),), (), (len(at),), ())))
    for number in range(int(kind.max()) + 1):
        relevant = relevant_to(number).int()
        for rows in (kind == number).nonzero().flatten().split(max(1, SIMILARITIES_AT_ONCE // count)):
            distance = (1 - cosine(rows)).clamp_(0, 2)
            part = rank_block(distance.mul_(STEPS).int(), relevant, at)
            for whole, block in zip(ranking, part, strict=True):
                whole[rows.numpy()] = block
    return ranking


def rank_block(distance: Tensor, relevant: Tensor, at: Sequence[int]) -> Ranking:
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
    found, place = first_right(distances, near, at)
    return Ranking(precision.mean(axis=1), hits / np.array(at), hits / count, highest[:, levels], gain, found, place)


def first_right(distances: np.ndarray, near: np.ndarray, at: Sequence[int]) -> tuple[Float[np.ndarray, "queries at"], Float[np.ndarray, " queries"]]:
    """How likely any relevant one is among the first `at`, and the place at which the first relevant one is expected; those equally near lie in a
    random order. distances: (queries, train), nearest first. near: (queries, relevant) of the relevant ones among them."""
    from scipy.special import gammaln

    least = near[:, :1]
    nearer, tied, right = (distances < least).sum(1), (distances == least).sum(1), (near == least).sum(1)
    drawn = np.clip(np.array(at)[None] - nearer[:, None], 0, tied[:, None])  # of those equally near, how many are among the first
    total, wrong = tied[:, None], (tied - right)[:, None]
    none = gammaln(wrong + 1) - gammaln(np.maximum(wrong - drawn, 0) + 1) - gammaln(total + 1) + gammaln(total - drawn + 1)
    return np.where(drawn > wrong, 1, 1 - np.exp(none)), nearer + (tied + 1) / (right + 1)


def among_first(cut: int, distances: np.ndarray, places: np.ndarray) -> Float[np.ndarray, " queries"]:
    """How many relevant ones are among the first; of those equally near at the cut, as many as a random order of them gives. distances: (queries,
    train), nearest first. places: (queries, relevant) of the relevant ones among them, in order."""
    border = distances[:, cut - 1 : cut]
    start, end = (distances < border).sum(1), (distances <= border).sum(1)
    before, within = ((places < edge[:, None]).sum(1) for edge in (start, end))
    return before + (within - before) * (cut - start) / (end - start)
