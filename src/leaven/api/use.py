"""Use a trained encoder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from leaven.data import open_data
from leaven.encoders import Encoder
from leaven.encoders.store import load_encoder
from leaven.errors import UserError
from leaven.evaluation.features import encode
from leaven.run import Run, write_whole
from leaven.training.devices import choose_device
from leaven.training.pretraining import trained_method


def load(run: str | Path | Run, role: str | None = None) -> nn.Module:
    """The trained encoder, in eval mode: raw input -> features. `role` chooses among several encoders."""
    opened = run if isinstance(run, Run) else Run.open(run)
    folder = opened.encoder_folder if role is None else opened.encoder_folder / role
    if role is None and not (folder / "config.json").is_file() and (roles := sorted(path.parent.name for path in folder.glob("*/config.json"))):
        raise UserError(f"this run has several encoders: {', '.join(roles)}", where=opened.path, hint="say which with role")
    if (folder / "config.json").is_file() and json.loads((folder / "config.json").read_text())["library"] == "method":
        encoders = trained_method(opened).encoders()
        return encoders[role] if role else next(iter(encoders.values()))
    return load_encoder(folder)


def embed(
    run: str | Path | Run,
    data: Any,
    *,
    out: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    device: str = "auto",
    data_root: str | Path | None = None,
) -> np.ndarray:
    """(samples, dim) float32 features of all samples, in the data's order; written to `out` (.npy) where given."""
    encoder = load(run)
    if not isinstance(encoder, Encoder):
        raise UserError("the networks of this method have no input specification to embed by", hint="use leaven.load in Python")
    if out is not None and Path(out).suffix != ".npy":
        raise UserError("vectors are written as .npy", where=out, hint="end --out with .npy")
    samples = open_data(data, root=data_root, columns=columns, **picture_options(encoder))
    role = next(iter(samples.rows.roles))
    vectors = encode(encoder, samples.rows[role], torch.arange(len(samples)), device=choose_device(device)).numpy()
    if out is not None:

        def save(partial: Path) -> None:
            with open(partial, "wb") as file:  # np.save would add .npy to the temporary name
                np.save(file, vectors)

        write_whole(Path(out), save)
    return vectors


def picture_options(encoder: Encoder) -> dict[str, Any]:
    """How pictures must be opened for an encoder."""
    spec = encoder.input
    return {"size": spec.shape[1], "channels": spec.shape[0]} if spec.modality == "pixels" else {}
