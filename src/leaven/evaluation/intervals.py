"""How sure a number is: 95 % intervals over test samples, over seeds, and over both."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from leaven.errors import UserError

Interval = tuple[float, float]
TAIL = (1 - 0.95) / 2
RESAMPLES = 1000


def mean_with_interval(values: Bool[Tensor, "n"] | Float[Tensor, "n"], key: str = "accuracy", *, seed: int = 0) -> dict[str, Any]:
    """{key: the mean over samples, interval: of `bootstrap_interval`}."""
    return {key: values.double().mean().item(), "interval": list(bootstrap_interval(values, seed=seed))}


def bootstrap_interval(values: Bool[Tensor, "n"] | Float[Tensor, "n"], *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Percentile bootstrap of the mean over samples (Efron 1979).

    values: one per test sample, right (1) or wrong (0), or any score. Where values repeat, a resample is drawn as multinomial counts of the distinct
    values, which for 0/1 is one binomial number: the same distribution as drawing n indices, in a millisecond.
    When all values are the same 0 or 1, resampling has no spread and the exact binomial bound (Clopper and Pearson 1934) stands in.
    """
    distinct, counts = np.unique(_numbers(values), return_counts=True)
    n = int(counts.sum())
    if n == 0:
        raise UserError("an interval needs at least one sample")
    if len(distinct) == 1 and distinct[0] in (0.0, 1.0):
        bound = TAIL ** (1 / n)
        return (bound, 1.0) if distinct[0] == 1.0 else (0.0, 1 - bound)
    draw = np.random.default_rng(seed)
    if len(distinct) <= 64:
        means = draw.multinomial(n, counts / n, size=resamples) @ distinct / n
    else:
        samples = np.repeat(distinct, counts)
        means = np.array([samples[draw.integers(n, size=n)].mean() for _ in range(resamples)])
    low, high = np.quantile(means, [TAIL, 1 - TAIL])
    return float(low), float(high)


def bootstrap_intervals(values: Float[Tensor, "n columns"], *, resamples: int = RESAMPLES, seed: int = 0) -> list[Interval]:
    """Percentile bootstrap of the mean of each column, all from the same resamples of the rows."""
    rows, draw = _numbers(values), np.random.default_rng(seed)
    if not len(rows):
        raise UserError("an interval needs at least one sample")
    means = np.array([np.bincount(draw.integers(len(rows), size=len(rows)), minlength=len(rows)) @ rows / len(rows) for _ in range(resamples)])
    return [(float(low), float(high)) for low, high in np.quantile(means, [TAIL, 1 - TAIL], axis=0).T]


def seeds_interval(values: Sequence[float]) -> Interval:
    """Student-t interval of the mean of independent runs, two at least. Not clipped to 0-1."""
    runs = np.asarray(values, dtype=np.float64)
    if len(runs) < 2:
        raise UserError("an interval over seeds needs two of them at least", hint="run more seeds, or use bootstrap_interval over the test samples")
    half = _student_t(len(runs) - 1) * runs.std(ddof=1) / np.sqrt(len(runs))
    return float(runs.mean() - half), float(runs.mean() + half)


def crossed_interval(correct: Shaped[Tensor, "draws n"]) -> Interval:
    """Interval of the mean accuracy when several draws are scored on the same n test samples.

    correct: values 0-1, or differences of two arms in -1..1. The draws differ (their variance over `draws`), and so would other test samples (the
    variance over samples of the mean over draws, over n): both are added, with Student's t for the few draws. One draw: bootstrap over samples.
    """
    scores = _numbers(correct)
    draws, n = scores.shape
    if draws == 1:
        return bootstrap_interval(correct[0])
    mean = scores.mean()
    over_draws = scores.mean(axis=1).var(ddof=1) / draws
    over_samples = scores.mean(axis=0).var(ddof=1) / n if n > 1 else 0.0
    half = _student_t(draws - 1) * np.sqrt(over_draws + over_samples)
    lowest = -1.0 if scores.min() < 0 else 0.0
    return float(max(mean - half, lowest)), float(min(mean + half, 1.0))


def _numbers(values: Tensor) -> np.ndarray:
    return values.detach().cpu().double().numpy()


def _student_t(freedom: int) -> float:
    from scipy.stats import t

    return float(t.ppf(1 - TAIL, freedom))
