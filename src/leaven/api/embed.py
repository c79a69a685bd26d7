"""Features of many samples, written to disk."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch

from leaven.api import options
from leaven.api.open import open_for
from leaven.console import Progress, Say, quiet
from leaven.errors import UserError
from leaven.evaluation.agreement import agreement
from leaven.evaluation.features import encode, encoded
from leaven.run import hold
from leaven.training.devices import choose_device
from leaven.training.distributed import agree, rank
from leaven.training.precision import choose_precision
from leaven.vectors import Vectors, open_vectors, write_npy, write_shards

OTHER_FILES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".npz", ".parquet", ".pq", ".arrow", ".pt", ".safetensors", ".h5")


@options.documented
def embed(
    run: options.RunFolder,
    data: options.Data,
    *,
    out: Annotated[
        options.RequiredPath, "Where the vectors go: a .npy file, or a folder of parquet shards, which the same command goes on with."
    ] = None,
    shard_size: Annotated[int | None, options.Option("Samples per shard (default: as many as make 64 MB).")] = None,
    precision: Annotated[str, options.Option("fp32, bf16 or auto (bf16 where the machine is fast in it).", values=("fp32", "bf16", "auto"))] = "fp32",
    role: options.Role = None,
    labels: options.Labels = None,
    columns: options.Columns = None,
    device: options.Device = "auto",
    data_root: options.Root = None,
    say: Say = quiet,
    progress: Progress = quiet,
) -> np.ndarray | Vectors:
    """Write the features of every sample.

    Returns (samples, dim) float32 in the data's order: a memory map of a .npy; `Vectors` of a folder of shards (path, index, split and label where
    there are any, vector), which reads rows and slices when asked for them; an array in memory without `out`. Files are written in constant memory,
    and the same call goes on after the last whole shard.

    Samples of files that cannot be used are left out (the vectors in a folder name theirs); in a list, whose only names are its order, they raise
    UserError. So do an `out` that holds other vectors or files, or that another process is writing, and features that are not finite.
    """
    place = None if out is None else Path(out)
    if place is not None and place.suffix.lower() in OTHER_FILES:
        raise UserError(f"vectors are not written as {place.suffix}", where=place, hint="end --out with .npy, or give a folder for parquet shards")
    if shard_size is not None and shard_size < 1:
        raise UserError(f"a shard holds one sample or more, not {shard_size}")
    opened = open_for(run, data, role=role, labels=labels, columns=columns, data_root=data_root, say=say, progress=progress)
    samples, encoder = opened.data, opened.encoder
    if samples.broken and isinstance(data, list | tuple):
        what = f"{len(samples.broken):,} of these {len(data):,} samples cannot be used, the first one since it is {samples.broken[0].why}"
        raise UserError(what, where=samples.broken[0].file, hint="leave them out, so that vectors are in the order of the list")
    chosen_device = choose_device(device)
    if precision == "fp64":
        raise UserError("vectors are fp32", hint="choose fp32, bf16 or auto")
    chosen, why = choose_precision(precision, chosen_device)
    if precision == "auto":
        say(f"precision: {chosen} ({why})")
    judged = partial(agreement, encoder, samples, opened.samples, device=chosen_device)
    if place is None:
        vectors = encode(encoder, opened.samples, torch.arange(len(samples)), device=chosen_device, precision=chosen).numpy()
        if line := judged():
            say(line)
        return vectors
    new = not place.exists()
    features = partial(encoded, encoder, opened.samples, device=chosen_device, precision=chosen)
    embedded = partial(progress, "embedded")
    try:
        if rank() == 0:
            with hold(place.with_name(f".{place.name}.lock"), "another process is writing these vectors", place):
                if place.suffix.lower() == ".npy":
                    write_npy(place, samples, encoder.dim, features, progress=embedded)
                else:
                    write_shards(place, samples, opened.origin(chosen, shard_size), features, progress=embedded)
    finally:
        agree(0)  # other processes wait for the first, which writes
    if new and rank() == 0 and (line := judged()):
        say(line)
    return open_vectors(place)
