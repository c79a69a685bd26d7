"""How sure a number is: 95 % intervals over test samples, over seeds, and over both; and of differences on the same test samples.

Where test samples come in groups (recordings, patients, pages), whole groups are resampled: samples of a group are alike, and new data brings new
groups.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int, Int64, Shaped
from torch import Tensor

from leaven.errors import UserError

Interval = tuple[float, float]
Groups: TypeAlias = "Int64[Tensor, ' n'] | None"  # -1 (none) is a group of its own
TAIL = (1 - 0.95) / 2
LEAST = 1e-12  # smaller chances count as 0
TOLD = 0.8  # the chance with which as many test samples as are named would tell
RESAMPLES = 1000


def mean_with_interval(
    values: Bool[Tensor, "n"] | Float[Tensor, "n"], key: str = "accuracy", *, groups: Groups = None, seed: int = 0
) -> dict[str, Any]:
    """{key: the mean over samples, interval: of `bootstrap_interval`}."""
    return {key: values.double().mean().item(), "interval": list(bootstrap_interval(values, groups=groups, seed=seed))}


def bootstrap_interval(
    values: Bool[Tensor, "n"] | Float[Tensor, "n"], *, groups: Groups = None, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Percentile bootstrap of the mean over samples (Efron 1979), or over groups where there are some.

    values: one per test sample, right (1) or wrong (0), or any score. Where values repeat, a resample is drawn as multinomial counts of the distinct
    values, which for 0/1 is one binomial number: the same distribution as drawing n indices, in a millisecond.
    When all values are the same 0 or 1, resampling has no spread and the exact binomial bound (Clopper and Pearson 1934) stands in.
    """
    distinct, counts = np.unique(_numbers(values), return_counts=True)
    n = int(counts.sum())
    if n == 0:
        raise UserError("an interval needs at least one sample")
    drawn = _count(n, groups)
    if len(distinct) == 1 and distinct[0] in (0.0, 1.0):
        return exact_bound(float(distinct[0]), drawn)
    if drawn < n:
        return bootstrap_intervals(values[:, None], groups=groups, resamples=resamples, seed=seed)[0]
    draw = np.random.default_rng(seed)
    if len(distinct) <= 64:
        means = draw.multinomial(n, counts / n, size=resamples) @ distinct / n
    else:
        samples = np.repeat(distinct, counts)
        means = np.array([samples[draw.integers(n, size=n)].mean() for _ in range(resamples)])
    low, high = np.quantile(means, [TAIL, 1 - TAIL])
    return float(low), float(high)


def exact_bound(share: float, count: int) -> Interval:
    """The interval of a share that is 0 or 1 in so many samples (Clopper and Pearson 1934)."""
    bound = TAIL ** (1 / count)
    return (bound, 1.0) if share == 1.0 else (0.0, 1 - bound)


def bootstrap_intervals(values: Float[Tensor, "n columns"], *, groups: Groups = None, resamples: int = RESAMPLES, seed: int = 0) -> list[Interval]:
    """Percentile bootstrap of the mean of each column, all from the same resamples of the rows, or of whole groups of them."""
    rows = _numbers(values)
    if not len(rows):
        raise UserError("an interval needs at least one sample")
    sums, sizes = _sums(rows, _units(len(rows), groups))
    means = [times @ sums / (times @ sizes) for times in resampled(len(sums), resamples=resamples, seed=seed)]
    return [percentile_interval(column, groups=groups) for column in np.array(means).T]


def resampled(count: int, *, groups: Groups = None, resamples: int = RESAMPLES, seed: int = 0) -> Iterator[Int[np.ndarray, " count"]]:
    """How often each sample stands in each resample. Of groups, as many are drawn as there are, each with all its samples."""
    draw, units = np.random.default_rng(seed), _units(count, groups)
    drawn = int(units.max()) + 1
    for _ in range(resamples):
        yield np.bincount(draw.integers(drawn, size=drawn), minlength=drawn)[units]


def percentile_interval(statistics: Sequence[float] | np.ndarray, *, groups: Groups = None, bounds: Interval = (0.0, 1.0)) -> Interval:
    """The interval of a statistic from its values on resamples, those that are not numbers left out.

    Percentiles of few groups are too narrow, so they are expanded to Phi(-sqrt(G / (G - 1)) t(G - 1)) (Hesterberg 2015, section 5.3); one group
    says nothing about others, and then the interval is all that is possible.
    """
    from scipy.stats import norm

    tail = TAIL
    if groups is not None and (count := _count(len(groups), groups)) < len(groups):
        if count == 1:
            return bounds
        tail = float(norm.cdf(-np.sqrt(count / (count - 1)) * _student_t(count - 1)))
    low, high = np.nanquantile(statistics, [tail, 1 - tail])
    return float(low), float(high)


def seeds_interval(values: Sequence[float], *, over_samples: float = 0.0) -> Interval:
    """Student-t interval of the mean of independent runs, two at least. Not clipped to 0-1.

    over_samples: the variance of the mean over test samples. All runs share these, so it does not shrink with the number of runs, and adds
    (1.96^2 over_samples) to the square of the interval's half.
    """
    runs = np.asarray(values, dtype=np.float64)
    if len(runs) < 2:
        raise UserError("an interval over seeds needs two of them at least", hint="run more seeds, or use bootstrap_interval over the test samples")
    half = _half(runs, over_samples, 2 * TAIL)
    return float(runs.mean() - half), float(runs.mean() + half)


def chance(values: Sequence[float], *, over_samples: float) -> float:
    """How likely a mean as far from 0 is by chance: 1 - the confidence at which `seeds_interval` reaches 0. Of one run, over test samples alone."""
    from scipy.optimize import brentq

    runs = np.asarray(values, dtype=np.float64)
    mean = abs(runs.mean())

    def beyond(outside: float) -> float:
        return _half(runs, over_samples, outside) - mean

    return float(brentq(beyond, LEAST, 1.0)) if beyond(LEAST) > 0 else LEAST if mean > 0 else 1.0


def variance_of(interval: Sequence[float]) -> float:
    """Of the score that has this interval, about."""
    return float(((interval[1] - interval[0]) / (2 * _normal(1 - TAIL))) ** 2)


def holm(chances: Sequence[float]) -> list[bool]:
    """Which of several differences are there, with at most 5 % of a wrong one among them (Holm 1979): the k-th smallest of m chances must be at most
    5 % / (m - k + 1), and all smaller ones too."""
    there = [False] * len(chances)
    for rank, place in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        if chances[place] > 2 * TAIL / (len(chances) - rank):
            break
        there[place] = True
    return there


def crossed_interval(correct: Shaped[Tensor, "draws n"], *, groups: Groups = None) -> Interval:
    """Interval of the mean accuracy when several draws are scored on the same n test samples.

    correct: values 0-1, or differences of two arms in -1..1. The draws differ (their variance over `draws`), and so would other test samples (the
    variance over samples, or groups, of the mean over draws): both are added, with Student's t for the few draws. One draw: bootstrap over samples.
    """
    scores = _numbers(correct)
    draws, n = scores.shape
    if draws == 1:
        return bootstrap_interval(correct[0], groups=groups)
    mean, count = scores.mean(), _count(n, groups)
    lowest = -1.0 if scores.min() < 0 else 0.0
    if count == 1 < n:
        return lowest, 1.0
    over_draws = scores.mean(axis=1).var(ddof=1) / draws
    over_samples = _squares(scores.mean(axis=0) - mean, groups) / n**2
    half = _student_t(min(draws, count if count < n else draws) - 1) * np.sqrt(over_draws + over_samples)
    return float(max(mean - half, lowest)), float(min(mean + half, 1.0))


def paired_difference(ours: Shaped[Tensor, "*draws n"], theirs: Shaped[Tensor, "*draws n"], *, groups: Groups = None) -> dict[str, Any]:
    """{difference, interval, more_test_samples} of two mean scores (0-1) on the same test samples, and of the draws that both have.

    Half a sample for each way in which two samples can be right or wrong is added, which keeps the interval honest where few samples differ
    (Agresti and Min 2005): d = sum(x) / (n + 2), its variance over samples (sum((x - d)^2) + 1) / (n + 2)^2, with sums over whole groups. The
    variance over draws is added. What the differences are is what McNemar's test (1947) looks at.
    more_test_samples: how many more, of the same kind, would show a difference of this size with a chance of 80 %; None where it is shown already,
    or where no number would.
    """
    first, second = np.atleast_2d(_numbers(ours)), np.atleast_2d(_numbers(theirs))
    shared = min(len(first), len(second)) if len(first) > 1 and len(second) > 1 else None
    scores = first[:shared] - second[:shared]
    draws, n = scores.shape
    difference, count = float(scores.mean()), _count(n, groups)
    if count == 1 < n:
        return {"difference": difference, "interval": [-1.0, 1.0], "more_test_samples": None}
    center = difference * n / (n + 2)
    over_draws = scores.mean(axis=1).var(ddof=1) / draws if draws > 1 else 0.0
    over_samples = (_squares(scores.mean(axis=0) - center, groups) + 1) / (n + 2) ** 2
    t = _student_t(min(draws - 1 if draws > 1 else np.inf, count - 1 if count < n else np.inf))
    half = t * np.sqrt(over_draws + over_samples)
    interval = [max(center - half, -1.0), min(center + half, 1.0)]
    left = (difference / (t + _normal(TOLD))) ** 2 - over_draws
    more = n * over_samples / left - n if left > 0 and interval[0] <= 0 <= interval[1] else 0
    return {"difference": difference, "interval": [float(bound) for bound in interval], "more_test_samples": round(more) if more >= 1 else None}


def resampled_difference(drawn: np.ndarray, difference: float, samples: int, *, groups: Groups = None) -> dict[str, Any]:
    """The same of two scores that are no means over samples, from their differences on the same resamples."""
    low, high = percentile_interval(drawn, groups=groups, bounds=(-1.0, 1.0))
    left = (difference / (_normal(1 - TAIL) + _normal(TOLD))) ** 2
    more = samples * np.nanvar(drawn) / left - samples if left > 0 and low <= 0 <= high else 0
    return {"difference": difference, "interval": [low, high], "more_test_samples": round(more) if more >= 1 else None}


def unpaired_difference(ours: float, interval: Sequence[float], theirs: float, other: Sequence[float]) -> dict[str, Any]:
    """{difference, interval, more_test_samples: None} of two scores of which only the intervals are known, as if they were on different test samples
    (Newcombe 1998, method 10): too wide where they are not."""
    difference = ours - theirs
    low = difference - np.hypot(ours - interval[0], other[1] - theirs)
    high = difference + np.hypot(interval[1] - ours, theirs - other[0])
    return {"difference": difference, "interval": [float(low), float(high)], "more_test_samples": None}


def _half(runs: np.ndarray, over_samples: float, outside: float) -> float:
    """Half of the interval of the mean of runs, outside of which it lies with this chance."""
    from scipy.stats import norm, t

    over_runs = t.isf(outside / 2, len(runs) - 1) ** 2 * runs.var(ddof=1) / len(runs) if len(runs) > 1 else 0.0
    return float(np.sqrt(over_runs + norm.isf(outside / 2) ** 2 * over_samples))


def _units(count: int, groups: Groups) -> Int[np.ndarray, " count"]:
    """The number of what is resampled with each sample: its group, or itself."""
    if groups is None:
        return np.arange(count)
    numbers = groups.detach().cpu().numpy().astype(np.int64)
    alone = numbers < 0
    return np.unique(np.where(alone, numbers.max() + 1 + np.cumsum(alone), numbers), return_inverse=True)[1]


def _count(count: int, groups: Groups) -> int:
    """How many units there are: fewer than samples where there are groups."""
    return int(_units(count, groups).max()) + 1


def _sums(rows: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums over the rows of each unit, and how many these are."""
    sums = np.zeros((int(units.max()) + 1, *rows.shape[1:]))
    np.add.at(sums, units, rows)
    return sums, np.bincount(units)


def _squares(residuals: np.ndarray, groups: Groups) -> float:
    """Sum of squares of the units' sums, times G / (G - 1) since the mean has used one of them up."""
    sums, _ = _sums(residuals, _units(len(residuals), groups))
    return float((sums**2).sum() * len(sums) / (len(sums) - 1)) if len(sums) > 1 else 0.0


def _numbers(values: Tensor) -> np.ndarray:
    return values.detach().cpu().double().numpy()


def _student_t(freedom: float) -> float:
    from scipy.stats import t

    return float(t.ppf(1 - TAIL, freedom))


def _normal(share: float) -> float:
    from scipy.stats import norm

    return float(norm.ppf(share))
