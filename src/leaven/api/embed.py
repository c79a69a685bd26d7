"""Features of many samples, written to disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch

from leaven.api import options
from leaven.api.open import open_for, reading_of
from leaven.console import Progress, Say, quiet
from leaven.data import DataSet, open_data
from leaven.data.sources.arrays import read_arrays
from leaven.data.writing import about_rows, write_archive
from leaven.errors import UserError
from leaven.evaluation.agreement import agreement
from leaven.evaluation.features import encode, encoded
from leaven.modalities import modality_of
from leaven.run import hold, write_whole
from leaven.training.devices import choose_device
from leaven.training.distributed import agree, rank
from leaven.training.precision import choose_precision
from leaven.vectors import Vectors, open_vectors, write_npy, write_shards

RAW = "input"
OTHER_FILES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".parquet", ".pq", ".arrow", ".pt", ".safetensors", ".h5")


@options.documented
def embed(
    run: Annotated[options.RunFolder, "The folder that `leaven pretrain` made; or `input`, for the raw input as the floor of scores has it."],
    data: options.Data,
    *,
    out: Annotated[
        options.RequiredPath,
        "Where the vectors go: a .npy file, a folder of parquet shards, which the same command goes on with, or an .npz file with labels and splits.",
    ] = None,
    shard_size: Annotated[int | None, options.Option("Samples per shard (default: as many as make 64 MB).")] = None,
    precision: Annotated[str, options.Option("fp32, bf16 or auto (bf16 where the machine is fast in it).", values=("fp32", "bf16", "auto"))] = "fp32",
    role: options.Role = None,
    labels: options.Labels = None,
    columns: options.Columns = None,
    groups: options.Groups = None,
    settings: Annotated[options.Settings, "How samples are read, for the raw input: window=2s and hop=1s of recordings, ... May be repeated."] = None,
    device: options.Device = "auto",
    data_root: options.Root = None,
    say: Say = quiet,
    progress: Progress = quiet,
) -> np.ndarray | Vectors:
    """Write the features of every sample.

    Returns (samples, dim) float32 in the data's order: a memory map of a .npy; `Vectors` of a folder of shards (path, index, split and label where
    there are any, vector), which reads rows and slices when asked for them; an array in memory without `out`, and of an .npz file, which other
    commands read as data: x, and what there is of y, split and group. Files are written in constant memory, and the same call goes on after the last
    whole shard.

    Samples of files that cannot be used are left out (the vectors in a folder name theirs); in a list, whose only names are its order, they raise
    UserError. So do an `out` that holds other vectors or files, or that another process is writing, and features that are not finite.
    """
    place = None if out is None else Path(out)
    if place is not None and place.suffix.lower() in OTHER_FILES:
        raise UserError(f"vectors are not written as {place.suffix}", where=place, hint="end --out with .npy, or give a folder for parquet shards")
    if shard_size is not None and shard_size < 1:
        raise UserError(f"a shard holds one sample or more, not {shard_size}")
    archive = place is not None and place.suffix.lower() == ".npz"
    if str(run) == RAW and not Path(RAW).exists():
        if place is None or not archive:
            raise UserError("the raw input is written as an .npz file", where=place, hint="end --out with .npz")
        reading, others = reading_of(settings)
        if others:
            hint = "how samples are read: window, hop, rate, channels, split, ..."
            raise UserError(f"the raw input has no setting {next(iter(others))}", hint=hint)
        how = {"root": data_root, "labels": labels, "columns": columns, "groups": groups, "reading": reading}
        source = open_data(data, **how, progress=partial(progress, "decoded"))
        return write_raw(place, source, role, say, partial(progress, "embedded"))
    if settings:
        raise UserError("an encoder says by itself how samples are read", hint="settings are for `leaven embed input`")
    opened = open_for(run, data, groups=groups, role=role, labels=labels, columns=columns, data_root=data_root, say=say, progress=progress)
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
                if archive:
                    blocks = (part.numpy() for part in features(torch.arange(len(samples))))
                    write_labeled(place, samples, blocks, encoder.dim, say, embedded)
                elif place.suffix.lower() == ".npy":
                    write_npy(place, samples, encoder.dim, features, progress=embedded)
                else:
                    write_shards(place, samples, opened.origin(chosen, shard_size), features, progress=embedded)
    finally:
        agree(0)  # other processes wait for the first, which writes
    if new and rank() == 0 and (line := judged()):
        say(line)
    return read_arrays(place).x if archive else open_vectors(place)


def write_raw(place: Path, data: DataSet, role: str | None, say: Say, progress: Callable[[int, int], object]) -> np.ndarray:
    """The raw input of every sample as the floor of scores has it: pixels, band powers, the statistics of log-mel frames, ..."""
    name = role or next(iter(data.spec.inputs))
    if name not in data.spec.inputs:
        raise UserError(f"the data has no role {name!r}", hint=f"it has {', '.join(data.spec.inputs)}")
    value = data.rows[name]
    modality = modality_of(value)
    if modality.tokenized:
        raise UserError(f"the raw input of {modality.plural} is a large sparse table", hint="give a run that has learned from them")
    raw = modality.raw_features(value, data.train())
    dim = raw(value[torch.arange(1)]).shape[1]
    write_labeled(place, data, (raw(value[rows]).float().numpy() for rows in torch.arange(len(data)).split(250)), dim, say, progress)
    return read_arrays(place).x


def write_labeled(place: Path, data: DataSet, vectors: Iterable[np.ndarray], dim: int, say: Say, progress: Callable[[int, int], object]) -> None:
    """Vectors as data to learn from. Where there are labels and no split, the part that `evaluate` would hold out becomes the split `test`: what
    learns from these vectors then keeps off it."""
    columns = about_rows(data, torch.arange(len(data)))
    if data.own_test() is None and data.spec.labeled:
        train, test, _, _ = data.held_out()
        split = np.full(len(data), "other")
        split[train.numpy()], split[test.numpy()] = "train", "test"
        columns["split"] = split.tolist()
        say(f"{len(test):,} samples, which `leaven evaluate` would hold out, become the split test")

    def counted() -> Iterator[np.ndarray]:
        done = 0
        for block in vectors:
            yield block
            progress(done := done + len(block), len(data))

    write_whole(place, lambda partial: write_archive(partial, counted(), (len(data), dim), columns))
