"""The whole path on data that comes with Leaven or a library."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from leaven.api import options
from leaven.api.evaluate import evaluate
from leaven.api.pretrain import pretrain
from leaven.api.search import search
from leaven.console import Progress, Say, quiet, seconds
from leaven.evaluation.scorecard import Scorecard

SHEET = "found.png"
TEMPLATES = tuple(f"a {size} {{}} in the middle on {ground}" for size in ("small", "large") for ground in ("white", "grey", "black"))


@options.documented
def demo(
    *,
    out: Annotated[Path | str, options.Option("Where the run is kept.")] = "leaven-runs/demo",
    budget: Annotated[options.Budget, "Time for pre-training."] = "60s",
    pairs: Annotated[bool, options.Option("Pictures of shapes with sentences about them, in place of digits.", flags=("--pairs",))] = False,
    query: Annotated[str, options.Option("With --pairs: a sentence, to find pictures by.")] = "a large red circle at the top on black",
    say: Say = quiet,
    progress: Progress = quiet,
) -> Scorecard:
    """Pre-train on handwritten digits without labels, then see what that is worth: no network, about 3 minutes on 2 cores.

    The method is SimCLR. It is scored with 1, 2, 5 and 10 labels per class; scoring, with training on the labels alone, may take twice the budget.
    With `pairs`, the method is CLIP, on drawn shapes with sentences about them; it is scored by classes that it finds by their names, and by how well
    pictures and sentences find each other. The pictures that a typed sentence finds are in found.png, in the run's folder.
    """
    if not pairs:
        run = pretrain("demo:digits", out=out, budget=budget, say=say, progress=progress)
        return evaluate(run, "demo:digits", budget=2 * (seconds(budget) or 60), say=say, progress=progress)
    keep_sides = {"views.image.flip": 0}  # the sentences speak of left and right
    run = pretrain("demo:shapes", method="clip", settings=keep_sides, out=out, budget=budget, say=say, progress=progress)
    card = evaluate(run, "demo:shapes", protocols=("zero-shot", "pairs"), templates=TEMPLATES, say=say, progress=progress)
    search(run, "demo:shapes", query, role="image", k=12, out=run.path / SHEET, say=say, progress=progress)
    return card
