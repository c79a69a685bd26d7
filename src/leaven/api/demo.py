"""The whole path on data that comes with a library."""

from __future__ import annotations

from pathlib import Path

from leaven.api.evaluate import evaluate
from leaven.api.pretrain import pretrain
from leaven.console import Progress, Say, quiet, seconds
from leaven.evaluation.scorecard import Scorecard


def demo(
    *,
    out: str | Path = "leaven-runs/demo",
    budget: str | float = "60s",
    say: Say = quiet,
    progress: Progress = quiet,
) -> Scorecard:
    """Pre-train SimCLR on scikit-learn's handwritten digits without their labels, and evaluate it from 1, 2, 5 and 10 labels a class.

    budget: of the pre-training; training on the labels alone may take 1.3 times as long.
    """
    run = pretrain("demo:digits", out=out, budget=budget, say=say, progress=progress)
    return evaluate(run, "demo:digits", budget=1.3 * (seconds(budget) or 60), say=say, progress=progress)
