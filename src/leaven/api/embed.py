"""Features of many samples, written to disk."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from leaven.api.opening import opened, origin_of
from leaven.console import Progress, Say, quiet
from leaven.errors import UserError
from leaven.evaluation.features import encode, encoded
from leaven.run import Run
from leaven.training.devices import choose_device
from leaven.training.distributed import agree, rank
from leaven.training.precision import choose_precision
from leaven.vectors import Vectors, open_vectors, write_npy, write_shards

OTHER_FILES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".npz", ".parquet", ".pq", ".arrow", ".pt", ".safetensors", ".h5")


def embed(
    run: str | Path | Run,
    data: Any,
    *,
    out: str | Path | None = None,
    shard_size: int | None = None,
    precision: str = "fp32",
    role: str | None = None,
    labels: Any = None,
    columns: Mapping[str, str] | None = None,
    device: str = "auto",
    data_root: str | Path | None = None,
    say: Say = quiet,
    progress: Progress = quiet,
) -> np.ndarray | Vectors:
    """(samples, dim) float32 features of all samples, in the data's order.

    out: where they are written as they come, in constant memory. A path that ends in .npy is one array, returned as a memory map; any other is a
    folder of parquet shards (path, index, split and label where there are any, vector), returned as `Vectors`: rows and slices are read when asked
    for, all by `numpy.asarray`. The same call goes on after the last whole shard. Without `out` the features are kept in memory.
    shard_size: samples a shard; default: as many as make 64 MB. precision: fp32, bf16 or auto. role: which of several encoders.

    Samples of files that cannot be used are left out (the vectors in a folder name theirs); of a list, which has no other names than its order, they
    are a UserError. Raises UserError where `out` holds other vectors or other files, and for features that are not finite.
    """
    given = run if isinstance(run, Run) else Run.open(run)
    place = None if out is None else Path(out)
    if place is not None and place.suffix.lower() in OTHER_FILES:
        raise UserError(f"vectors are not written as {place.suffix}", where=place, hint="end --out with .npy, or give a folder for parquet shards")
    if shard_size is not None and shard_size < 1:
        raise UserError(f"a shard holds one sample or more, not {shard_size}")
    encoder, samples, value, part = opened(given, data, role, labels, columns, data_root, progress)
    if samples.broken and isinstance(data, list | tuple):
        what = f"{len(samples.broken):,} of these {len(data):,} samples cannot be used, the first one since it is {samples.broken[0].why}"
        raise UserError(what, where=samples.broken[0].file, hint="leave them out, so that vectors are in the order of the list")
    kind = choose_device(device)
    if precision == "fp64":
        raise UserError("vectors are fp32", hint="choose fp32, bf16 or auto")
    chosen, why = choose_precision(precision, kind)
    if precision == "auto":
        say(f"precision: {chosen} ({why})")
    make = partial(encoded, encoder, value, device=kind, precision=chosen)
    if place is None:
        return encode(encoder, value, torch.arange(len(samples)), device=kind, precision=chosen).numpy()
    told = partial(progress, "embedded")
    try:
        if rank() == 0:
            if place.suffix.lower() == ".npy":
                write_npy(place, samples, encoder.dim, make, progress=told)
            else:
                write_shards(place, samples, origin_of(given, encoder, samples, part, chosen, shard_size), make, progress=told)
    finally:
        agree(0)  # other processes wait for the first, which writes
    return open_vectors(place)
