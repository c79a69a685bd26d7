"""How likely samples are under a model of the data."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from leaven.api.opening import able, counted, opened
from leaven.api.output import checked
from leaven.console import Progress, quiet
from leaven.encoders import Encoder
from leaven.evaluation.likelihood import Likelihoods, log_probs
from leaven.methods.method import Method
from leaven.modalities import Value
from leaven.modalities.modality import fitted
from leaven.report.contact_sheet import picture_grid
from leaven.run import Run
from leaven.training.devices import choose_device


def score(
    run: str | Path | Run,
    data: Any,
    *,
    out: str | Path | None = None,
    sheet: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    seed: int = 0,
    method: str | type[Method] | None = None,
    device: str = "auto",
    data_root: str | Path | None = None,
    progress: Progress = quiet,
) -> Likelihoods:
    """How likely every sample of the data is under a run's model, in nats: `what` says whether that is the log-likelihood, a bound or an estimate.

    out: a .csv with a line a sample. sheet: a .png of the least likely pictures, and the likeliest below them. seed: of what is random in it (grey
    pictures are binarised by a draw, where the model is of binary ones). Raises UserError where the run's method gives no likelihood.
    """
    checked(out, ".csv", "likelihoods are written as .csv")
    checked(sheet, ".png", "a sheet of pictures is a .png")
    given = run if isinstance(run, Run) else Run.open(run)
    made, kind = able(given, "log_prob", method), choose_device(device)
    encoder, samples, value, _ = opened(given, data, None, None, columns, data_root, progress)
    blocks = log_probs(made, value, encoder.input.shape, seed=seed, device=kind)
    nats = torch.cat(list(counted(blocks, len(samples), partial(progress, "scored")))).numpy()
    files = tuple(file or str(row) for row, file in enumerate(samples.files))
    parts = {name: rows.numpy() for name, rows in samples.splits.items()}
    found = Likelihoods(made.log_prob_is, files, nats, values_of(value, encoder), parts)
    if out is not None:
        found.write(Path(out))
    if sheet is not None:
        order, shown = found.ranked(), min(20, len(found))
        ends = [order[:shown], order[len(order) - shown :][::-1]]
        picture_grid(Path(sheet), [fitted(value[torch.from_numpy(rows.copy())], encoder.input.shape) for rows in ends], columns=10)
    return found


def values_of(value: Value, encoder: Encoder) -> int | np.ndarray:
    """How many numbers a sample has; of texts, how many tokens each one's probability is made of."""
    if encoder.modality.tokenized and encoder.tokenizer is not None:
        return (encoder.tokenizer(value).mask.lengths - 1).numpy()  # type: ignore[attr-defined, arg-type]
    return int(np.prod(encoder.input.shape))
