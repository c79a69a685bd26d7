"""Features of many samples: written to disk, and searched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leaven.api.console import Progress, Say, quiet
from leaven.api.use import load_encoder_of
from leaven.data import DataSet, open_data
from leaven.encoders import Encoder, describe_encoder
from leaven.errors import UserError
from leaven.evaluation.features import check_input, encode, encoded
from leaven.evaluation.search import check_vectors, neighbours, read_query
from leaven.modalities import Value
from leaven.report.contact_sheet import search_sheet
from leaven.run import Run
from leaven.training.devices import choose_device
from leaven.training.distributed import agree, rank
from leaven.training.precision import choose_precision
from leaven.vectors import Origin, Vectors, blocks, open_vectors, write_npy, write_shards

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


def search(
    run: str | Path | Run,
    data: Any,
    query: Any,
    *,
    k: int = 10,
    vectors: str | Path | None = None,
    out: str | Path | None = None,
    role: str | None = None,
    labels: Any = None,
    columns: Mapping[str, str] | None = None,
    device: str = "auto",
    data_root: str | Path | None = None,
    progress: Progress = quiet,
) -> list[Any]:
    """The k samples of the data whose features are nearest to a query's, by exact cosine similarity: {rank, file, index, similarity}, nearest first.

    query: a picture file, a PIL picture, an array of one sample, or a sample of the data by its file name or its row (17 or "#17"), which does not
    find itself. A list of these gives a list of lists. Where the data has labels, `label` tells each sample's class (None: it has none).
    vectors: what `embed` wrote of this data (.npy or folder), so that it need not be encoded again. out: a contact sheet, as .png.
    Fewer than k are found where there are no more samples.

    Raises UserError for a query that is neither picture nor sample, k below 1, and vectors of another encoder or other data.
    """
    if k < 1:
        raise UserError(f"k must be at least 1, not {k}")
    if out is not None and Path(out).suffix.lower() != ".png":
        raise UserError("a contact sheet is a .png", where=out, hint="end --out with .png")
    given = run if isinstance(run, Run) else Run.open(run)
    encoder, samples, value, part = opened(given, data, role, labels, columns, data_root, progress)
    if out is not None and not encoder.modality.visible:
        raise UserError(f"a contact sheet shows pictures, and this data is {value.modality}", hint="leave --out out")
    kind = choose_device(device)
    several = isinstance(query, list | tuple)
    asked = list(query) if several else [query]
    if not asked:
        raise UserError("no query", hint="give a picture file, or a row such as #17")
    queries = [read_query(each, samples, value, encoder) for each in asked]
    features = torch.cat([encode(encoder, each.value, torch.arange(1), device=kind) for each in queries])
    if vectors is None:
        found = encoded(encoder, value, torch.arange(len(samples)), device=kind)
    else:
        there = open_vectors(Path(vectors))
        check_vectors(there, Path(vectors), origin_of(given, encoder, samples, part, "fp32"), encoder, value)
        found = blocks(there)
    answers = neighbours(samples, queries, features, counted(found, len(samples), partial(progress, "searched")), k)
    if out is not None:
        search_sheet(Path(out), samples, value, queries, answers)
    return answers if several else answers[0]


def opened(
    run: Run,
    data: Any,
    role: str | None,
    labels: Any,
    columns: Mapping[str, str] | None,
    data_root: str | Path | None,
    progress: Progress,
) -> tuple[Encoder, DataSet, Value, str]:
    """The encoder, the data as it reads it, its input, and the role that this input plays in the data."""
    encoder = load_encoder_of(run, role)
    options = {"labels": labels, "columns": columns, **encoder.modality.open_options(encoder.input)}
    samples = open_data(data, root=data_root, progress=partial(progress, "decoded"), **options)
    part = role if role in samples.rows.roles else next(iter(samples.rows.roles))
    check_input(encoder, samples.spec.roles[part], samples.name)
    return encoder, samples, samples.rows[part], part


def origin_of(run: Run, encoder: Encoder, data: DataSet, part: str, precision: str, shard_size: int | None = None) -> Origin:
    name = describe_encoder(encoder)["name"]
    return Origin.of(encoder=encoder, data=data, dim=encoder.dim, shard_size=shard_size, run=str(run.path), name=name, role=part, precision=precision)


def counted(blocks: Iterator[Tensor], total: int, progress: Callable[[int, int], object]) -> Iterator[Tensor]:
    done = 0
    for block in blocks:
        yield block
        done += len(block)
        progress(done, total)
