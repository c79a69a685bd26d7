"""Features on disk: one .npy, or a folder of parquet shards, which is written as features come, and whose writing can be resumed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from leaven.data import DataSet
from leaven.errors import DAMAGED_ARRAY, UserError
from leaven.run import write_whole, writing

FORMAT = 1
SHARD_BYTES = 64 * 2**20

Encode = Callable[[Tensor], Iterator[Tensor]]
Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Origin:
    """What features were made from; stored in every shard.

    run, encoder, data: names, for people. weights, contents: hashes of the encoder's weights and of the samples in their order. fingerprint: of the
    data set, labels and splits included. role: of the data, where it has several. shard_size: samples per shard.
    """

    run: str
    encoder: str
    weights: str
    dim: int
    data: str
    fingerprint: str
    contents: str
    role: str
    samples: int
    precision: str
    shard_size: int
    leaven: str

    def check_features(self, wanted: Origin, where: Path) -> None:
        """Raises UserError unless these are the wanted features, whatever they were written with."""
        if (self.weights, self.dim) != (wanted.weights, wanted.dim):
            hint = "choose another folder, or give the run that made them"
            raise UserError(f"these vectors are of another encoder: {self.encoder} of {self.run}", where=where, hint=hint)
        if (self.contents, self.role, self.samples) != (wanted.contents, wanted.role, wanted.samples):
            source = f"{self.data}, {self.samples:,} samples" + (f", role {self.role}" if self.role != wanted.role else "")
            raise UserError(f"these vectors are of other data ({source}), or the data has changed", where=where, hint="choose another folder")

    def check_shard(self, wanted: Origin, where: Path) -> None:
        """Raises UserError unless a shard can stand beside the wanted ones."""
        self.check_features(wanted, where)
        if self.fingerprint != wanted.fingerprint:
            raise UserError("the labels or splits of the data have changed since", where=where, hint="choose another folder")
        for name in ("precision", "shard_size"):
            before, now = getattr(self, name), getattr(wanted, name)
            if before != now:
                option = f"--{name.replace('_', '-')}"
                raise UserError(f"these vectors were begun with {option} {before}, not {now}", where=where, hint=f"give {option} {before}")


def contents_hash(data: DataSet) -> str:
    return hashlib.blake2b(data.hashes.numpy().tobytes(), digest_size=16).hexdigest()


def weights_hash(module: nn.Module) -> str:
    """The same for the same parameters and buffers, whatever their layout in memory."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def name_of(data: DataSet, row: int) -> str:
    """A sample's file, or #ROW where it has none; always text that can be printed."""
    return os.fsencode(data.files[row]).decode(errors="replace") or f"#{row}"


def label_of(data: DataSet, row: int) -> str | None:
    """The name of a sample's class, or its tags; None where it has no label."""
    names = data.names_of(row)
    return None if names is None else "; ".join(names)


def split_names(data: DataSet, rows: Tensor) -> list[str | None]:
    """The split of each of these rows."""
    names = list(data.splits)
    number = torch.full((len(data),), -1)
    for place, members in enumerate(data.splits.values()):
        number[members] = place
    return [names[place] if place >= 0 else None for place in number[rows].tolist()]


# --- writing ---


def write_npy(path: Path, data: DataSet, dim: int, encode: Encode, *, progress: Progress) -> None:
    """(samples, dim) float32 in one file, put in place when it is whole."""
    if path.is_dir():
        raise UserError("a folder is in the way of the .npy file", where=path, hint="choose another --out")
    _remove_abandoned(path.parent, path.name)

    def save(partial: Path) -> None:
        # Plain writes, not a memory map, so that a full disk is an error and not a crash.
        with open(partial, "wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (len(data), dim)})
            for start, features in _checked(encode(torch.arange(len(data))), data):
                file.write(np.ascontiguousarray(features, "<f4").data)
                progress(start + len(features), len(data))

    write_whole(path, save)


def write_shards(folder: Path, data: DataSet, origin: Origin, encode: Encode, *, progress: Progress) -> None:
    """One shard after another, each put in place when it is whole; shards that are there already are skipped.

    Shards are encoded independently, so that an interrupted call and the next one leave the same bytes as one call. Raises UserError where the
    folder holds other vectors or other files.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError("a file is in the way of the folder of vectors", where=folder, hint="choose another --out, or one that ends in .npy")
    _remove_abandoned(folder, "part-")
    written = shards(folder)
    if not written and folder.is_dir() and any(path.suffix != ".partial" for path in folder.iterdir()):
        raise UserError("this folder holds other files", where=folder, hint="give a new folder for the vectors")
    for path in written:
        if (earlier := _read_origin(path)) is not None:
            earlier.check_shard(origin, folder)
    with writing(folder):  # a folder that cannot be written is an error before anything is encoded
        folder.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, len(data), origin.shard_size)):
        rows, path = torch.arange(start, min(start + origin.shard_size, len(data))), folder / shard_name(number)
        if path not in written or _read_origin(path) is None:
            _write_shard(path, data, rows, origin, encode, progress)
        progress(int(rows[-1]) + 1, len(data))


def _write_shard(path: Path, data: DataSet, rows: Tensor, origin: Origin, encode: Encode, progress: Progress) -> None:
    vectors, first = np.empty((len(rows), origin.dim), np.float32), int(rows[0])
    for start, features in _checked(encode(rows), data, first):
        vectors[start : start + len(features)] = features
        progress(first + start + len(features), len(data))
    columns: dict[str, Any] = {
        "path": pa.array([name_of(data, row) if data.files[row] else None for row in rows.tolist()], pa.string()),
        "index": rows.numpy(),
    }
    if set(data.splits) != {"all"}:
        columns["split"] = pa.array(split_names(data, rows), pa.string())
    if data.spec.names:
        columns["label"] = pa.array([label_of(data, row) for row in rows.tolist()], pa.string())
    kind = pa.list_(pa.field("element", pa.float32(), nullable=False), origin.dim)
    columns["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), type=kind)
    table = pa.table(columns).replace_schema_metadata({"leaven": json.dumps({"format": FORMAT, **asdict(origin)})})
    compression = {name: "zstd" for name in columns if name != "vector"}  # features do not get smaller
    write_whole(
        path, lambda partial: pq.write_table(table, partial, compression=compression, use_dictionary=["split", "label"], write_page_checksum=True)
    )


def _checked(batches: Iterator[Tensor], data: DataSet, first: int = 0) -> Iterator[tuple[int, np.ndarray]]:
    """Each batch with its place among the batches. first: the row of the first sample. Raises UserError for features that are not finite."""
    start = 0
    for features in batches:
        if not features.isfinite().all():
            row = first + start + int((~features.isfinite()).any(1).nonzero()[0])
            hint = "look at the health verdicts of the encoder's run, and at the sample"
            raise UserError("the encoder gave NaN or infinity", where=name_of(data, row), hint=hint)
        yield start, features.numpy()
        start += len(features)


def _remove_abandoned(folder: Path, beginning: str) -> None:
    """Remove the unfinished files of processes that were killed."""
    for path in folder.iterdir() if folder.is_dir() else ():
        process = path.name.removesuffix(".partial").rpartition(".")[2]
        if not path.name.startswith(beginning) or not path.name.endswith(".partial") or not process.isdigit():
            continue
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            path.unlink(missing_ok=True)
        except OSError:  # it runs, and is another user's
            continue


# --- reading ---


class Vectors:
    """(samples, dim) float32 features in a folder of parquet shards. Rows and slices are read when they are taken, all of them by `np.asarray`.

    Raises UserError where there are none, or not all of them.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, folder: Path):
        self.folder = folder
        origins = [_read_origin(path) for path in shards(folder)]
        if not origins or origins[0] is None:
            raise UserError("no vectors here", where=folder, hint="write them with `leaven embed RUN DATA --out VECTORS`")
        self.origin = origins[0]
        if origins != [self.origin] * -(-self.origin.samples // self.origin.shard_size):
            raise UserError("not all vectors are here", where=folder, hint="run the same `leaven embed` again: it goes on where it stopped")

    @property
    def shape(self) -> tuple[int, int]:
        return self.origin.samples, self.origin.dim

    def __len__(self) -> int:
        return self.origin.samples

    def __getitem__(self, rows: int | slice) -> np.ndarray:
        if not isinstance(rows, slice):
            row = range(len(self))[rows]
            return self[row : row + 1][0]
        start, stop, step = rows.indices(len(self))
        if step != 1:
            return np.asarray(self)[rows]
        size = self.origin.shard_size
        parts = [self._shard(number)[max(0, start - number * size) : stop - number * size] for number in range(start // size, -(-stop // size))]
        return np.concatenate([np.empty((0, self.origin.dim), np.float32), *parts])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def _shard(self, number: int) -> np.ndarray:
        path = self.folder / shard_name(number)
        try:
            column = pq.read_table(path, columns=["vector"], page_checksum_verification=True).column(0).combine_chunks()
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"this shard is damaged: {error}", where=path, hint="remove it, and run the same `leaven embed` again") from None
        return column.flatten().to_numpy().reshape(-1, self.origin.dim)


def open_vectors(path: Path) -> np.ndarray | Vectors:
    """What `leaven embed` wrote: a .npy as a memory map, or a folder of shards. Raises UserError for anything else."""
    if path.suffix.lower() != ".npy":
        return Vectors(path)
    try:
        vectors = np.load(path, mmap_mode="r")
    except DAMAGED_ARRAY as error:
        raise UserError(f"no vectors here: {error}", where=path, hint="write them with `leaven embed RUN DATA --out VECTORS`") from None
    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise UserError(f"an array of {vectors.dtype} {vectors.shape} is not one vector per sample", where=path)
    return vectors


def blocks(vectors: np.ndarray | Vectors) -> Iterator[Tensor]:
    """All rows in order, some 64 MB at a time."""
    size = vectors.origin.shard_size if isinstance(vectors, Vectors) else rows_in(SHARD_BYTES, vectors.shape[1])
    for start in range(0, len(vectors), size):
        yield torch.from_numpy(np.array(vectors[start : start + size], np.float32))


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))


def shard_name(number: int) -> str:
    return f"part-{number:05d}.parquet"


def rows_in(size: int, dim: int) -> int:
    """How many fp32 vectors fit into so many bytes."""
    return max(1, size // (4 * dim))


def _read_origin(path: Path) -> Origin | None:
    """What a shard says about itself; None where it is not whole. Raises UserError for a table of something else."""
    try:
        stored = (pq.read_metadata(path).metadata or {}).get(b"leaven")
    except (pa.ArrowException, OSError):
        return None
    if stored is None:
        raise UserError("this table holds no vectors of `leaven embed`", where=path, hint="choose another folder")
    origin = json.loads(stored)
    if origin.pop("format") > FORMAT:
        raise UserError("these vectors were written by a newer Leaven", where=path, hint="update leaven")
    return Origin(**origin)
