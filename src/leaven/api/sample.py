"""New samples from a model of the data."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch

from leaven.api import options
from leaven.api.write import check_samples_suffix, write_samples
from leaven.errors import UserError
from leaven.evaluation.abilities import new_samples, open_method
from leaven.run import Run
from leaven.training.devices import choose_device


@options.documented
def sample(
    run: options.RunFolder,
    count: Annotated[int, options.Option("How many.", flags=("-n", "--count"))] = 64,
    *,
    out: options.SamplesOut = None,
    label: Annotated[str | None, options.Option("The class of all samples, where the method makes samples of a class.")] = None,
    seed: options.Seed = 0,
    method: options.OwnMethod = None,
    device: options.Device = "auto",
) -> np.ndarray | list[str]:
    """Make new samples with a run that models its data.

    Returns (count, channels, height, width) float32 in 0-1, (count, numbers), or a list of texts; the same seed gives the same. Raises UserError
    where the run's method makes no samples, or knows no such class.
    """
    place = check_samples_suffix(out)
    if count < 1:
        raise UserError(f"count must be at least 1, not {count}")
    run = Run.open(run)
    model = open_method(run, "sample", method)
    if label is not None and not model.learns_labels:
        raise UserError(f"{model.name} makes no samples of a class that you choose", where=run.path, hint="leave --label out")
    labels = None if label is None else torch.full((count,), class_number(run, label))
    return write_samples(place, list(new_samples(model, count, labels, seed=seed, device=choose_device(device))), model)


def class_number(run: Run, label: str) -> int:
    names = [str(name) for name in run.config["asked"]["data"]["spec"]["class_names"]]
    if str(label) in names:
        return names.index(str(label))
    raise UserError(f"this run knows no class {label!r}", where=run.path, hint=f"it knows {', '.join(names)}" if names else "it saw no labels")
