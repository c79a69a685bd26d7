"""New samples from a model of the data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch

from leaven.api import options
from leaven.api.write import check_samples_suffix, write_samples
from leaven.data.sources.text_files import read_lines
from leaven.errors import UserError
from leaven.evaluation.abilities import new_samples, open_method, samples_from_texts
from leaven.run import Run
from leaven.training.devices import choose_device

MOST_COLUMNS = 16  # of a sheet with a line for each text


@options.documented
def sample(
    run: options.RunFolder,
    count: Annotated[int, options.Option("How many.", flags=("-n", "--count"))] = 64,
    *,
    out: options.SamplesOut = None,
    label: Annotated[str | None, options.Option("The class of all samples, where the method makes samples of a class.")] = None,
    text: Annotated[
        str | Path | Sequence[str] | None,
        options.Option("What samples show, where the method makes samples of what a text says: a sentence, or a .txt with one per line."),
    ] = None,
    seed: options.Seed = 0,
    method: options.OwnMethod = None,
    device: options.Device = "auto",
) -> np.ndarray | list[str]:
    """Make new samples with a run that models its data.

    Returns (count, channels, height, width) float32 in 0-1, (count, numbers), or a list of texts; the same seed gives the same. With `text`,
    there are `count` samples for each text, one text after another. Raises UserError where the run's method makes no samples, or knows no such class.
    """
    place = check_samples_suffix(out)
    if count < 1:
        raise UserError(f"count must be at least 1, not {count}")
    run = Run.open(run)
    if text is not None:
        if label is not None:
            raise UserError("samples are of a class or of a text, not of both", hint="leave --label or --text out")
        model, texts = open_method(run, "from_text", method), texts_of(text)
        repeated = [one for one in texts for _ in range(count)]
        columns = count if 1 < count <= MOST_COLUMNS and len(texts) > 1 else None
        return write_samples(place, list(samples_from_texts(model, repeated, seed=seed, device=choose_device(device))), model, columns)
    model = open_method(run, "sample", method)
    if label is not None and not model.learns_labels:
        raise UserError(f"{model.name} makes no samples of a class that you choose", where=run.path, hint="leave --label out")
    labels = None if label is None else torch.full((count,), class_number(run, label))
    return write_samples(place, list(new_samples(model, count, labels, seed=seed, device=choose_device(device))), model)


def texts_of(text: str | Path | Sequence[str]) -> list[str]:
    """Several texts, those of a file, or one. Raises UserError where there is none, or an empty one."""
    if isinstance(text, Path) or (isinstance(text, str) and text.lower().endswith(".txt")):
        file = Path(text).expanduser()
        if not file.is_file():
            raise UserError("no such file", where=file, hint="give a sentence, or a .txt with one per line")
        texts = read_lines(file).columns["text"]
    else:
        texts = [text] if isinstance(text, str) else list(text)
    if not texts or not all(one.strip() for one in texts):
        raise UserError("there is no text to make samples of", where=text if isinstance(text, Path) else "text", hint="write what they should show")
    return texts


def class_number(run: Run, label: str) -> int:
    names = [str(name) for name in run.config["asked"]["data"]["spec"]["class_names"]]
    if str(label) in names:
        return names.index(str(label))
    raise UserError(f"this run knows no class {label!r}", where=run.path, hint=f"it knows {', '.join(names)}" if names else "it saw no labels")
