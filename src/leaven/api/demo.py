"""The whole path on data that comes with a library."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from leaven.api import options
from leaven.api.evaluate import evaluate
from leaven.api.pretrain import pretrain
from leaven.console import Progress, Say, quiet, seconds
from leaven.evaluation.scorecard import Scorecard


@options.documented
def demo(
    *,
    out: Annotated[Path | str, options.Option("Where the run is kept.")] = "leaven-runs/demo",
    budget: Annotated[options.Budget, "Time for pre-training."] = "60s",
    say: Say = quiet,
    progress: Progress = quiet,
) -> Scorecard:
    """Pre-train on handwritten digits without labels, then see what that is worth: no network, about 3 minutes on 2 cores.

    The method is SimCLR. It is scored with 1, 2, 5 and 10 labels per class; scoring, with training on the labels alone, may take twice the budget.
    """
    run = pretrain("demo:digits", out=out, budget=budget, say=say, progress=progress)
    return evaluate(run, "demo:digits", budget=2 * (seconds(budget) or 60), say=say, progress=progress)
