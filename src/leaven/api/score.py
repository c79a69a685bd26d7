"""How likely samples are under a model of the data."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch

from leaven.api import options
from leaven.api.open import counted, open_for
from leaven.api.write import check_suffix
from leaven.console import Progress, quiet
from leaven.encoders import Encoder
from leaven.evaluation.abilities import log_probs, open_method
from leaven.evaluation.predictions import Likelihoods
from leaven.modalities import Value
from leaven.modalities.modality import fitted
from leaven.report.contact_sheet import picture_grid
from leaven.training.devices import choose_device


@options.documented
def score(
    run: options.RunFolder,
    data: options.Data,
    *,
    out: Annotated[options.OptionalPath, "A .csv file with the nats of every sample."] = None,
    sheet: Annotated[options.OptionalPath, "A .png of the least likely pictures, with the likeliest below."] = None,
    role: options.Role = None,
    columns: options.Columns = None,
    seed: options.Seed = 0,
    method: options.OwnMethod = None,
    device: options.Device = "auto",
    data_root: options.Root = None,
    progress: Progress = quiet,
) -> Likelihoods:
    """Say how likely each sample is: of the data as a whole, and the ones that do not belong.

    In nats; `what` of the result says whether that is the log-likelihood, a bound or an estimate. The seed counts where a draw is part of it (grey
    pictures are binarised by one for a model of binary ones). Raises UserError where the run's method gives no likelihood.
    """
    place, picture = check_suffix(out, ".csv", "likelihoods are"), check_suffix(sheet, ".png", "a contact sheet is", "--sheet")
    model = open_method(run, "log_prob", method)
    opened = open_for(run, data, role=role, columns=columns, data_root=data_root, progress=progress)
    encoder, samples, value = opened.encoder, opened.data, opened.samples
    blocks = log_probs(model, value, encoder.input, seed=seed, device=choose_device(device))
    nats = torch.cat(list(counted(blocks, len(samples), progress, "scored"))).numpy()
    files = tuple(file or str(row) for row, file in enumerate(samples.files))
    parts = {name: rows.numpy() for name, rows in samples.splits.items()}
    likelihoods = Likelihoods(model.log_prob_is, files, nats, values_of(value, encoder), parts, samples.groups.numpy())
    if place is not None:
        likelihoods.write(place)
    if picture is not None:
        order, shown = likelihoods.ranked(), min(20, len(samples))
        ends = [order[:shown], order[len(order) - shown :][::-1]]
        picture_grid(picture, [fitted(value[torch.from_numpy(rows.copy())], encoder.input) for rows in ends], columns=10)
    return likelihoods


def values_of(value: Value, encoder: Encoder) -> int | np.ndarray:
    """How many numbers a sample has; of texts, how many tokens each one's probability is made of."""
    if encoder.modality.tokenized and encoder.tokenizer is not None:
        return (encoder.tokenizer(value).mask.lengths - 1).numpy()  # type: ignore[attr-defined, arg-type]
    return int(np.prod(encoder.input.shape))
