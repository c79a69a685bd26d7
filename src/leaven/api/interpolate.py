"""Ways from one sample to another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from leaven.api.opening import able
from leaven.api.output import checked_out, kept
from leaven.data import open_data
from leaven.errors import UserError
from leaven.evaluation.features import check_input
from leaven.evaluation.search import read_query
from leaven.methods.method import Method
from leaven.modalities import Value
from leaven.modalities.modality import fitted
from leaven.run import Run
from leaven.training.devices import choose_device
from leaven.training.trained import load_encoder_of


def interpolate(
    run: str | Path | Run,
    a: Any,
    b: Any,
    *,
    data: Any = None,
    steps: int = 9,
    out: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    method: str | type[Method] | None = None,
    device: str = "auto",
    data_root: str | Path | None = None,
) -> np.ndarray | list[str]:
    """(steps, ...) what is decoded on the straight line from the features of one sample to those of another, both ends included; of texts a list.

    a, b: picture files, texts, arrays of one sample, or samples of `data` by file name or row (17 or "#17"). out: a .png in one row, a .npy, or a
    .txt. Raises UserError where the run's method decodes nothing, or what is given is no sample.
    """
    place = checked_out(out)
    if steps < 2:
        raise UserError(f"steps must be at least 2, both ends, not {steps}")
    given = run if isinstance(run, Run) else Run.open(run)
    made, kind = able(given, "decode", method), choose_device(device)
    encoder = load_encoder_of(given)
    ends = [end_of(each, data, columns, data_root, encoder) for each in (a, b)]
    made.to(kind)
    with torch.no_grad():
        first, last = (made.encoder(fitted(each.to(kind), encoder.input.shape)).float() for each in ends)
        share = torch.linspace(0, 1, steps, device=kind)[:, None]
        found = made.decode(first + share * (last - first)).to("cpu")
    return kept(place, [found], made, columns=steps)


def end_of(asked: Any, data: Any, columns: Mapping[str, str] | None, data_root: str | Path | None, encoder: Any) -> Value:
    """One sample to begin or end at."""
    if data is not None:
        samples = open_data(data, root=data_root, columns=columns, **encoder.modality.open_options(encoder.input))
        check_input(encoder, samples.spec.roles["x"], samples.name)
        return read_query(asked, samples, samples.rows["x"], encoder).value
    name, sample = encoder.modality.query(asked, encoder.input.shape)
    check_input(encoder, encoder.modality.spec(sample, torch.arange(1)), name)
    return sample
