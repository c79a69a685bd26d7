"""Arrays and tensors -> typed values; .npy, .npz and idx files."""

import gzip
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from leaven.errors import DAMAGED_ARRAY, UserError
from leaven.modalities import Value, Vector, find_modality, modality_of
from leaven.modalities.content import check_finite
from leaven.modalities.counts import is_sparse, of_sparse
from leaven.modalities.decoding import Reading
from leaven.modalities.pixels import LAYOUTS, of_array

IDX_PARTS = ("train", "t10k")
# Of an .npz file; the first that fit.
ARRAY_NAMES: tuple[tuple[str, ...], ...] = (("x_train", "y_train", "x_test", "y_test"), ("x", "y"), ("x",))
BESIDE = ("split", "group")
SPARSE_FIELDS = {"format", "shape", "data"}  # of what scipy.sparse.save_npz writes, beside those of its format
LEAST_REFUSED, MOST_EXPANDED = 2**28, 100  # bytes, and times its size on the disk: what an archive may expand to
SOUND = 4000.0  # Hz from which one channel over time is taken for sound
RATE_HINT = "sound is (N,T) and signals are (N,C,T), at their rate"
FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def as_tensor(array: Any) -> Tensor:
    """A CPU tensor that shares memory where it can. Raises UserError for what is no array of numbers."""
    if isinstance(array, Tensor):
        return array.detach().cpu()
    array = np.asarray(array)
    if array.dtype.kind not in "biuf":
        raise UserError(f"an array of {array.dtype} holds no numbers to learn from", hint=LAYOUTS)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if any(stride < 0 for stride in array.strides):
        array = np.ascontiguousarray(array)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.from_numpy(array)


def as_value(array: Any, where: str, reading: Reading, train: Tensor | None, rate: float | None = None) -> Value:
    """(N, D) -> Vector; (N, H, W), (N, H, W, C), (N, C, H, W) -> Pixels (see `of_array`); sparse matrices -> Counts.

    rate: Hz, of samples over time: (N, T) -> Wave from 4 kHz, else Signal; (N, C, T) -> Signal.

    A Value stays what it is. Raises UserError for other shapes and ranges, and for values that are not finite.
    """
    if is_sparse(array):
        return of_sparse(array, where)
    if isinstance(array, Value):
        return modality_of(array).checked(array, where)
    tensor = as_tensor(array)
    if not 2 <= tensor.ndim <= 4 or 0 in tensor.shape:
        raise UserError(f"an array of shape {tuple(tensor.shape)} is neither pictures nor vectors", where=where, hint=LAYOUTS)
    if rate is not None:
        return over_time(tensor, rate, where)
    check_finite(tensor, where)
    return Vector(tensor.float()) if tensor.ndim == 2 else of_array(tensor, where, reading, train)


def over_time(tensor: Tensor, rate: float, where: str) -> Value:
    """Sound or signals. Raises UserError for other shapes."""
    if tensor.ndim > 3:
        raise UserError(f"an array of shape {tuple(tensor.shape)} with a rate is neither sound nor signals", where=where, hint=RATE_HINT)
    modality = find_modality("wave" if tensor.ndim == 2 and rate >= SOUND else "signal")
    return modality.checked(modality.of_array(tensor, rate), where)


class Arrays(NamedTuple):
    """What a file of arrays holds of each sample, and the names of arrays left out."""

    x: Any
    y: Any = None
    splits: list[str] | None = None
    groups: np.ndarray | None = None
    left_out: Sequence[str] = ()


def read_arrays(path: Path) -> Arrays:
    """Of a .npy file (memory-mapped) or an .npz file. Nothing is unpickled.

    An .npz file holds a sparse matrix, one array, or arrays named x, and perhaps y, split and group, or x_train, y_train, x_test, y_test. Raises
    UserError when it cannot be read.
    """
    try:
        if path.suffix.lower() == ".npy":
            return Arrays(np.load(path, mmap_mode="r"))
        check_expansion(path)
        with np.load(path) as archive:
            if set(archive.files) >= SPARSE_FIELDS:
                return Arrays(read_sparse(path))
            wanted = next((names for names in ARRAY_NAMES if set(names) <= set(archive.files)), ())
            if not wanted and len(archive.files) != 1:
                hint = f"name it x (and the labels y); its arrays are {', '.join(archive.files)}"
                raise UserError("which array holds the samples?", where=path, hint=hint)
            wanted = wanted or tuple(archive.files)
            read = [archive[name] for name in wanted]
            beside = {name: archive[name] for name in BESIDE if name in archive.files and wanted[0] == "x"}
            beside = {name: array for name, array in beside.items() if array.shape == (len(read[0]),)}
            left_out = [name for name in archive.files if name not in (*wanted, *beside)]
    except (*DAMAGED_ARRAY, NotImplementedError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        hint = "plain numbers, saved by numpy.save, numpy.savez or scipy.sparse.save_npz"
        raise UserError(f"cannot read the array: {error}", where=path, hint=hint) from error
    if len(read) < 4:
        splits = [str(name) for name in beside["split"]] if "split" in beside else None
        return Arrays(read[0], read[1] if len(read) > 1 else None, splits, beside.get("group"), left_out)
    x_train, y_train, x_test, y_test = read
    splits = ["train"] * len(x_train) + ["test"] * len(x_test)
    return Arrays(np.concatenate([x_train, x_test]), np.concatenate([y_train, y_test]), splits, None, left_out)


def read_sparse(path: Path) -> Any:
    """The sparse matrix of a file that scipy.sparse.save_npz wrote. Raises ValueError for a damaged one."""
    from scipy.sparse import load_npz

    with np.load(path) as archive:
        needed = 8 * int(np.sum(archive["shape"].astype(object)))  # whatever the form, a place per row or column
    check_size(path, needed)
    matrix = load_npz(path)
    if hasattr(matrix, "check_format"):
        matrix.check_format(full_check=True)  # else a wrong index reads memory that is not its own
    return matrix


def check_expansion(path: Path) -> None:
    """Raises UserError where an archive would take far more memory than data that was measured: such files are made to fill it."""
    with zipfile.ZipFile(path) as archive:
        check_size(path, sum(member.file_size for member in archive.infolist()))


def check_size(path: Path, needed: int) -> None:
    if needed > max(LEAST_REFUSED, MOST_EXPANDED * path.stat().st_size):
        what = f"it would take {needed / 1e9:,.1f} GB, {needed // max(1, path.stat().st_size):,} times its size"
        raise UserError(what, where=path, hint="if it is meant, save it as .npy, which is read from the disk")


def find_idx(folder: Path) -> Path | None:
    """The folder, or its `raw`, that holds MNIST-like idx files."""
    return next((place for place in (folder, folder / "raw") if any(_idx(place, part, "images-idx3") for part in IDX_PARTS)), None)


def read_idx(folder: Path) -> tuple[np.ndarray, np.ndarray, list[str], list[str]]:
    """(pictures (N, H, W) uint8, labels (N,), splits, origins); unpacked in memory, nothing is written."""
    pictures, labels, splits, origins = [], [], [], []
    for part in IDX_PARTS:
        path = _idx(folder, part, "images-idx3")
        if path is None:
            continue
        pictures.append(_unpack(path, 3))
        count = len(pictures[-1])
        beside = _idx(folder, part, "labels-idx1")
        labels.append(np.full(count, -1, np.int64) if beside is None else _unpack(beside, 1).astype(np.int64))
        if len(labels[-1]) != count:
            raise UserError(f"{len(labels[-1])} labels for {count} pictures", where=beside, hint="fetch both files again")
        if pictures[-1].shape[1:] != pictures[0].shape[1:]:
            raise UserError("its pictures are not as large as those of the other part", where=path, hint="fetch both files again")
        splits += [part] * count
        origins += [f"{path.name}#{row}" for row in range(count)]
    return np.concatenate(pictures), np.concatenate(labels), splits, origins


def _idx(folder: Path, part: str, kind: str) -> Path | None:
    return next((path for ending in ("-ubyte", "-ubyte.gz") if (path := folder / f"{part}-{kind}{ending}").is_file()), None)


def _unpack(path: Path, dimensions: int) -> np.ndarray:
    """The array of an idx file, of so many dimensions. Its size is known before it is read."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            head = stream.read(4 + 4 * dimensions)
            shape = np.frombuffer(head, ">i4", dimensions, 4)
            if head[:4] != bytes((0, 0, 8, dimensions)) or (shape < 0).any():
                raise ValueError(f"its head is not that of bytes in {dimensions} dimensions")
            count = int(np.prod(shape.astype(object)))
            check_size(path, count)
            return np.frombuffer(stream.read(count), np.uint8, count).reshape(shape)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(f"not a whole idx file: {error}", where=path, hint="fetch the file again") from error
