"""Ways from one sample to another."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import torch

from leaven.api import options
from leaven.api.open import Opened, open_for
from leaven.api.write import check_samples_suffix, write_samples
from leaven.encoders import Encoder
from leaven.errors import UserError
from leaven.evaluation.abilities import open_method
from leaven.evaluation.features import check_input
from leaven.evaluation.search import read_query
from leaven.modalities import Value
from leaven.modalities.modality import fitted
from leaven.training.devices import choose_device
from leaven.training.trained import load_encoder_of


@options.documented
def interpolate(
    run: options.RunFolder,
    a: Annotated[Any, options.Option("A picture file, a text, or with --data a row (17 or '#17') or a file name of it.", argument=True)],
    b: Annotated[Any, options.Option("Another one.", argument=True)],
    *,
    out: Annotated[options.SamplesOut, "A .png of the way, a .npy of its numbers, or a .txt of texts."] = None,
    data: Annotated[Any, options.Option("The data that A and B are samples of.")] = None,
    steps: Annotated[int, options.Option("How many samples, both ends included.")] = 9,
    columns: options.Columns = None,
    method: options.OwnMethod = None,
    device: options.Device = "auto",
    data_root: options.Root = None,
) -> np.ndarray | list[str]:
    """Go from one sample to another, through the code.

    Returns (steps, ...) what is decoded on the straight line from the features of one to those of the other; of texts a list. In Python A and B may
    be arrays of one sample as well. Raises UserError where the run's method decodes nothing, or A or B is no sample.
    """
    place = check_samples_suffix(out)
    if steps < 2:
        raise UserError(f"steps must be at least 2, both ends, not {steps}")
    model, chosen_device = open_method(run, "decode", method), choose_device(device)
    encoder = load_encoder_of(run)
    opened = None if data is None else open_for(run, data, encoder=encoder, columns=columns, data_root=data_root)
    ends = [end_of(sample, opened, encoder) for sample in (a, b)]
    model.to(chosen_device)
    with torch.no_grad():
        first, last = (model.encoder(fitted(end.to(chosen_device), encoder.input)).float() for end in ends)
        share = torch.linspace(0, 1, steps, device=chosen_device)[:, None]
        decoded = model.decode(first + share * (last - first)).to("cpu")
    return write_samples(place, [decoded], model, columns=steps)


def end_of(sample: Any, opened: Opened | None, encoder: Encoder) -> Value:
    """One sample to begin or end at."""
    if opened is not None:
        return read_query(sample, opened.data, opened.samples, encoder).value
    name, value = encoder.modality.query(sample, encoder.input)
    check_input(encoder, encoder.modality.spec(value, torch.arange(1)), name)
    return value
