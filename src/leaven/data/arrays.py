"""Arrays and tensors -> typed values; .npy, .npz and idx files."""

from __future__ import annotations

import gzip
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from leaven.data.batch import Counts, Pixels, Value, Vector
from leaven.data.content import CHUNK
from leaven.data.counts import check_counts, from_sparse, is_sparse, read_sparse
from leaven.data.pictures import stored_side
from leaven.errors import UserError

IDX_PARTS = ("train", "t10k")
LAYOUTS = "pictures are (N,H,W), (N,H,W,C) or (N,C,H,W) with 1 or 3 channels, vectors (N,D)"
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


def as_value(array: Any, where: str) -> Value:
    """(N, D) -> Vector; (N, H, W), (N, H, W, C), (N, C, H, W) of uint8, whole numbers in 0-255, 16 bits, or floats in 0-1 -> Pixels;
    sparse matrices -> Counts.

    A Value stays what it is. Raises UserError for other shapes and ranges, and for values that are not finite.
    """
    if is_sparse(array):
        return from_sparse(array, where)
    if isinstance(array, Counts):
        return check_counts(array, where)
    if isinstance(array, Vector):
        array = array.numbers
    elif isinstance(array, Value):
        return array
    tensor = as_tensor(array)
    if not 2 <= tensor.ndim <= 4 or 0 in tensor.shape:
        raise UserError(f"an array of shape {tuple(tensor.shape)} is neither pictures nor vectors", where=where, hint=LAYOUTS)
    if tensor.is_floating_point() and not all(part.isfinite().all() for part in tensor.split(CHUNK)):
        raise UserError("some values are not finite (NaN or infinity)", where=where, hint="remove or fill these samples")
    if tensor.ndim == 2:
        return Vector(tensor.float())
    return Pixels(_range(_channels_first(tensor, where), where))


def fit_pixels(pixels: Tensor, size: int | None, channels: int | None) -> Tensor:
    """(N, C, H, W) brought to the channels asked for, and resized as pictures from files are when much larger than `size`."""
    native = min(pixels.shape[2:])
    side = stored_side(native, size)
    change = channels is not None and channels != pixels.shape[1]
    if side == native and not change:
        return pixels
    parts = [_fit(part, side if side != native else None, channels if change else None) for part in pixels.split(CHUNK)]
    return torch.cat(parts)


def read_arrays(path: Path) -> dict[str, Any]:
    """Arrays of a .npy ("x", memory-mapped) or .npz file by name, or the sparse matrix of one ("x"). Nothing is unpickled.

    Raises UserError when it cannot be read.
    """
    try:
        if path.suffix.lower() == ".npy":
            return {"x": np.load(path, mmap_mode="r")}
        if (sparse := read_sparse(path)) is not None:
            return {"x": sparse}
        with np.load(path) as archive:
            return {name: archive[name] for name in _wanted(archive.files, path)}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"cannot read the array: {error}", where=path, hint="plain numbers, saved by numpy.save, numpy.savez or scipy.sparse.save_npz"
        ) from error


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
        pictures.append(_unpack(path))
        count = len(pictures[-1])
        beside = _idx(folder, part, "labels-idx1")
        labels.append(np.full(count, -1, np.int64) if beside is None else _unpack(beside).astype(np.int64))
        if len(labels[-1]) != count:
            raise UserError(f"{len(labels[-1])} labels for {count} pictures", where=beside, hint="fetch both files again")
        splits += [part] * count
        origins += [f"{path.name}#{row}" for row in range(count)]
    return np.concatenate(pictures), np.concatenate(labels), splits, origins


def _wanted(names: list[str], path: Path) -> list[str]:
    for wanted in (("x_train", "y_train", "x_test", "y_test"), ("x", "y"), ("x",)):
        if set(wanted) <= set(names):
            return list(wanted)
    if len(names) == 1:
        return names
    raise UserError("which array holds the samples?", where=path, hint=f"name it x (and the labels y); its arrays are {', '.join(names)}")


def joined(arrays: Mapping[str, Any]) -> tuple[Any, Any, list[str] | None]:
    """(x, y or None, splits or None) from arrays named x, y, or x_train, y_train, x_test, y_test, or a single one."""
    if "x_train" not in arrays:
        x = arrays["x"] if "x" in arrays else next(iter(arrays.values()))
        return x, arrays.get("y"), None
    splits = [part for part in ("train", "test") for _ in range(len(arrays[f"x_{part}"]))]
    return *(np.concatenate([arrays[f"{name}_train"], arrays[f"{name}_test"]]) for name in "xy"), splits  # type: ignore[return-value]


def _channels_first(tensor: Tensor, where: str) -> Tensor:
    if tensor.ndim == 3:
        return tensor[:, None]
    first, last = tensor.shape[1] in (1, 3), tensor.shape[3] in (1, 3)
    if first and last:  # a tiny side may look like channels: then the layout that makes the picture square is meant
        first, last = tensor.shape[2] == tensor.shape[3], tensor.shape[1] == tensor.shape[2]
    if first == last:
        raise UserError(f"cannot tell the channels of an array of shape {tuple(tensor.shape)}", where=where, hint=LAYOUTS)
    return tensor if first else tensor.permute(0, 3, 1, 2)


def _range(pixels: Tensor, where: str) -> Tensor:
    if pixels.dtype == torch.uint8:
        return pixels
    if pixels.dtype == torch.bool:
        return pixels.to(torch.uint8) * 255
    if pixels.dtype == torch.uint16:
        return torch.cat([(part.int().float() / 257).round().to(torch.uint8) for part in pixels.split(CHUNK)])
    low, high = float(pixels.min()), float(pixels.max())
    floating = pixels.is_floating_point()
    if low < 0 or high > (1 if floating else 255):
        hint = "divide pictures of 0-255 by 255, or give uint8; wrap what is no picture in leaven.data.Signal, Wave or Vector"
        raise UserError(f"pictures of {pixels.dtype} lie in {low:.3g} to {high:.3g}, not in 0 to {1 if floating else 255}", where=where, hint=hint)
    return pixels.float() if floating else pixels.to(torch.uint8)


def _fit(pixels: Tensor, side: int | None, channels: int | None) -> Tensor:
    values = pixels.float()
    if side is not None:
        height, width = (round(length * side / min(pixels.shape[2:])) for length in pixels.shape[2:])
        values = interpolate(values, (height, width), mode="bilinear", antialias=True)
        top, left = (height - side) // 2, (width - side) // 2
        values = values[:, :, top : top + side, left : left + side]
    if channels == 3:
        values = values.expand(-1, 3, -1, -1)
    elif channels == 1:
        values = (values * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    return values.round().to(torch.uint8) if pixels.dtype == torch.uint8 else values


def _idx(folder: Path, part: str, kind: str) -> Path | None:
    return next((path for ending in ("-ubyte", "-ubyte.gz") if (path := folder / f"{part}-{kind}{ending}").is_file()), None)


def _unpack(path: Path) -> np.ndarray:
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        dimensions = data[3] if data[:3] == b"\x00\x00\x08" else 0
        shape = np.frombuffer(data, ">i4", dimensions, 4)
        return np.frombuffer(data, np.uint8, int(np.prod(shape)), 4 + 4 * dimensions).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise UserError(f"not a whole idx file: {error}", where=path, hint="fetch the file again") from error
