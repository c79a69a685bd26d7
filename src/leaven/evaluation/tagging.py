"""How well tags are predicted: average precision of each tag, F1, and how sure both are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from leaven.evaluation.gains import PerResample
from leaven.evaluation.intervals import RESAMPLES, Groups, percentile_interval, resampled

NUMBERS = 2**28  # samples times tags times resamples, at most
FEWEST_RESAMPLES = 200


def tag_scores(
    probabilities: Float[Tensor, "n tags"], present: Bool[Tensor, "n tags"], threshold: float | None, *, groups: Groups = None, seed: int = 0
) -> dict[str, Any]:
    """{map, interval, per_sample, average_precision (of each tag)}, and with a threshold {f1_macro, f1_macro_interval, f1_micro, f1_micro_interval,
    f1 (of each tag), threshold}. Each tag must be that of a sample.

    map: mean over tags of the average precision. F1 of a tag that is given to no sample is 0. Intervals: bootstrap over samples, or groups, of all
    tags together; on a resample the mean is over the tags that occur in it.
    """
    scores, has = probabilities.double().cpu().numpy(), present.cpu().numpy().astype(float)
    n, tags = scores.shape
    order = np.argsort(-scores, axis=0, kind="stable")
    ranked = np.take_along_axis(scores, order, 0)
    last = np.vstack([ranked[:-1] != ranked[1:], np.ones((1, tags), bool)])  # of the samples with the same probability, which count together
    end = np.where(last, np.arange(n)[:, None], n)[::-1]
    end = np.minimum.accumulate(end, axis=0)[::-1]
    right = np.take_along_axis(has, order, 0)
    given = np.zeros_like(scores) if threshold is None else (scores >= threshold).astype(float)

    def averages(times: np.ndarray) -> np.ndarray:
        """Average precision of each tag, where each sample counts so many times; nan of a tag that none has."""
        weight = times[order]
        found = np.cumsum(weight * right, 0)
        precision = np.take_along_axis(found, end, 0) / np.maximum(np.take_along_axis(np.cumsum(weight, 0), end, 0), 1e-12)
        with np.errstate(invalid="ignore"):
            return (weight * right * precision).sum(0) / found[-1]

    def f1(times: np.ndarray) -> tuple[np.ndarray, float]:
        """Of each tag, and of all tags together."""
        both, either = times @ (given * has), times @ given + times @ has
        with np.errstate(invalid="ignore"):
            return np.where(times @ has > 0, 2 * both / either, np.nan), 2 * both.sum() / max(either.sum(), 1e-12)

    resamples = max(FEWEST_RESAMPLES, min(RESAMPLES, NUMBERS // scores.size))
    draws = list(resampled(n, groups=groups, resamples=resamples, seed=seed))
    once = np.ones(n)
    average, drawn = averages(once), np.array([np.nanmean(averages(times)) for times in draws])
    score: dict[str, Any] = {
        "map": float(average.mean()),
        "interval": list(percentile_interval(drawn, groups=groups)),
        "per_sample": PerResample(drawn, float(average.mean()), n, groups),
        "average_precision": average.tolist(),
    }
    if threshold is None:
        return score
    of_each, micro = f1(once)
    drawn_f1 = np.array([(np.nanmean(each), together) for each, together in map(f1, draws)])
    macro_interval, micro_interval = (list(percentile_interval(column, groups=groups)) for column in drawn_f1.T)
    score |= {"f1_macro": float(of_each.mean()), "f1_macro_interval": macro_interval, "f1_micro": micro, "f1_micro_interval": micro_interval}
    return score | {"f1": of_each.tolist(), "threshold": threshold}


def by_tag(score: dict[str, Any], names: Sequence[str], present: Bool[Tensor, "n tags"]) -> dict[str, Any]:
    """The same with `tags`, a list of {tag, positives, average_precision, f1}, in place of the lists of numbers, and positives, how many there
    are."""
    counts = present.sum(0).tolist()
    columns = {
        "tag": list(names),
        "positives": counts,
        "average_precision": score["average_precision"],
        **({"f1": score["f1"]} if "f1" in score else {}),
    }
    tags = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    kept = {name: value for name, value in score.items() if name not in ("average_precision", "f1")}
    return {**kept, "tags": tags, "positives": sum(counts), "samples": len(present)}
