"""Samples with labels, splits and groups, written as data that every command reads again: an .npz file, or folders of pictures."""

from __future__ import annotations

import itertools
import math
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leaven.data.dataset import DataSet
from leaven.modalities import InputSpec, Value, modality_of
from leaven.modalities.modality import fitted

AT_ONCE = 2**24  # bytes that are held at a time
ARCHIVE = "samples.npz"


@dataclass(frozen=True, eq=False)
class Written:
    """Samples, and what is said of each. name: of the kind, such as "real". read: the input of the encoder as which they are written."""

    name: str
    value: Value
    rows: Tensor
    read: InputSpec
    label: Sequence[str]
    split: Sequence[str]
    group: Sequence[int]

    def blocks(self) -> Iterator[tuple[Tensor, Value]]:
        """Some samples at a time, with their places among these."""
        size = max(1, AT_ONCE // max(1, 4 * math.prod(self.value.main.shape[1:])))
        for places in torch.arange(len(self.rows)).split(size):
            yield places, fitted(self.value[self.rows[places]], self.read)


def about_rows(data: DataSet, rows: Tensor) -> dict[str, list[Any]]:
    """The label ("" = none), the split ("" where there are no splits) and the group (-1 = none) of these rows."""
    split = np.full(len(data), "", dtype="<U5")
    for name, members in data.splits.items() if set(data.splits) != {"all"} else ():
        split[members.numpy()] = name
    labels = ["; ".join(data.names_of(row) or ()) for row in rows.tolist()]
    return {"label": labels, "split": split[rows.numpy()].tolist(), "group": data.rows.group[rows].tolist()}


def write_data(folder: Path, parts: Sequence[Written]) -> Path:
    """Pictures that files can hold as FOLDER/split/class/kind-number.png, other samples as FOLDER/samples.npz; returns where they are."""
    modality = modality_of(parts[0].value)
    if modality.written_as_pictures(parts[0].read):
        for part in parts:
            write_pictures(folder, part)
        return folder
    shape = (sum(len(part.rows) for part in parts), *parts[0].read.shape)
    samples = (modality.stored(value) for part in parts for _, value in part.blocks())
    columns = {name: [entry for part in parts for entry in getattr(part, name)] for name in ("label", "split", "group")}
    generated = np.concatenate([np.full(len(part.rows), part.name != parts[0].name) for part in parts])
    write_archive(folder / ARCHIVE, samples, shape, columns, {**modality.stored_beside(parts[0].read), "generated": generated})
    return folder / ARCHIVE


def write_pictures(folder: Path, part: Written) -> None:
    from PIL import Image

    modality = modality_of(part.value)
    for places, value in part.blocks():
        for place, picture in zip(places.tolist(), modality.stored(value), strict=True):
            path = folder / part.split[place] / folder_name(part.label[place])
            path.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)).save(path / f"{part.name}-{place:06d}.png")


def folder_name(label: str) -> str:
    """A class as the name of a folder."""
    return label.replace("/", "_").replace("\\", "_").lstrip(".") or "_"


def write_archive(
    path: Path,
    samples: Iterable[np.ndarray],
    shape: tuple[int, ...],
    columns: Mapping[str, Sequence[Any]],
    others: Mapping[str, Any] | None = None,
) -> None:
    """An .npz file as `open_data` reads it: x, and what there is of y, split and group. The same samples give the same bytes.

    samples: blocks of them, all together of this shape. columns: label, split and group of each sample (see `about_rows`). others: more arrays.
    """
    known = {
        "y": np.array(columns["label"]) if any(columns["label"]) else None,
        "split": np.array(columns["split"]) if any(columns["split"]) else None,
        "group": np.array(columns["group"]) if any(group >= 0 for group in columns["group"]) else None,
        **{name: np.asarray(array) for name, array in (others or {}).items()},
    }
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open(zipfile.ZipInfo("x.npy"), "w", force_zip64=True) as stream:
            blocks = iter(samples)
            first = next(blocks)
            header = {"descr": np.lib.format.dtype_to_descr(first.dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(stream, header)  # type: ignore[arg-type]
            for block in itertools.chain([first], blocks):
                stream.write(np.ascontiguousarray(block).data)
        for name, array in known.items():
            if array is not None:
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as stream:
                    np.lib.format.write_array(stream, array, allow_pickle=False)  # type: ignore[arg-type]
