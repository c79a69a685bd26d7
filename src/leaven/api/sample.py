"""New samples from a model of the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from leaven.api.opening import able
from leaven.api.output import checked_out, kept
from leaven.errors import UserError
from leaven.evaluation.generation import new_samples
from leaven.methods.method import Method
from leaven.run import Run
from leaven.training.devices import choose_device


def sample(
    run: str | Path | Run,
    count: int = 64,
    *,
    label: str | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    method: str | type[Method] | None = None,
    device: str = "auto",
) -> np.ndarray | list[str]:
    """New samples from a run: (count, channels, height, width) float32 in 0-1, (count, numbers), or a list of texts.

    label: the class of them, where the method makes one that is asked for. out: a .png of all of them, a .npy, or a .txt with a text a line. The same
    seed gives the same.
    method: as in `leaven.load`. Raises UserError where the run's method makes no samples, or knows no such class.
    """
    place = checked_out(out)
    if count < 1:
        raise UserError(f"count must be at least 1, not {count}")
    given = run if isinstance(run, Run) else Run.open(run)
    made, kind = able(given, "sample", method), choose_device(device)
    if label is not None and not made.learns_labels:
        raise UserError(f"{made.name} makes no samples of a class that is asked for", where=given.path, hint="leave --label out")
    labels = None if label is None else torch.full((count,), class_number(given, label))
    return kept(place, list(new_samples(made, count, labels, seed=seed, device=kind)), made)


def class_number(run: Run, label: str) -> int:
    names = [str(name) for name in run.config["asked"]["data"]["spec"]["class_names"]]
    if str(label) in names:
        return names.index(str(label))
    raise UserError(f"this run knows no class {label!r}", where=run.path, hint=f"it knows {', '.join(names)}" if names else "it saw no labels")
