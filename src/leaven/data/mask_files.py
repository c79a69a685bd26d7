"""Masks in a folder of pictures: the class of each pixel, as its value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from leaven.data.class_names import FILE, NAMES
from leaven.data.sources.folders import pictures, walk
from leaven.data.sources.text_files import read_delimited
from leaven.errors import UserError
from leaven.modalities import Mask, Value
from leaven.modalities.decoding import scaled_to
from leaven.modalities.mask import IGNORED

UNLABELED = ("unlabelled", "unlabeled", "void", "ignore", "ignored")
"""Names of classes whose pixels say nothing."""
MOST = 255  # classes, since one value says that a pixel has none


@dataclass(frozen=True, eq=False)
class MaskFiles:
    """files: the mask of each picture, None where it has none. codes: what values of masks are called, from a `classes.csv`; empty where there is
    none. chosen: the names of the classes, in order, where they are known before."""

    splits, are_pictures = None, True

    files: tuple[Path | None, ...]
    codes: dict[int, str]
    chosen: tuple[str, ...] = ()

    @classmethod
    def read(cls, labels: str, root: Path, files: Sequence[str], chosen: Sequence[str] = ()) -> MaskFiles:
        """labels: a folder of masks, whose paths are those of the pictures whatever their endings; or the name of folders within the data, each
        beside a folder of pictures (train/labels beside train/images).

        Raises UserError where no picture has a mask.
        """
        folder = Path(labels).expanduser()
        if folder.is_dir():
            found = {stem(name): folder / name for name in pictures(walk(folder).files)}
            masks = [found.get(stem(name)) or found.get(PurePosixPath(stem(name)).name) for name in files]
            places = [folder, folder.resolve().parent, folder.resolve().parent.parent, root]
        else:
            found = {stem(name): root / name for name in pictures(walk(root).files) if labels in PurePosixPath(name).parts[:-1]}
            masks = [found.get(beside(stem(name), labels)) for name in files]
            places = [root]
        if not found:
            hint = "give the folder of masks, or the name of the folders of masks within the data"
            raise UserError("there are no masks here", where=labels, hint=hint)
        if not any(masks):
            raise UserError("no picture has a mask of its name", where=labels, hint=f"masks are called like their pictures, as {stem(files[0])}.png")
        return cls(tuple(masks), codes_of(places), tuple(chosen))

    @property
    def there(self) -> list[bool]:
        return [file is not None for file in self.files]

    @cached_property
    def _looked_at(self) -> dict[int, tuple[tuple[int, int], tuple[int, ...]]]:
        """The size of each mask, and its values."""
        looked: dict[int, tuple[tuple[int, int], tuple[int, ...]]] = {}
        for row, file in enumerate(self.files):
            if file is not None:
                values = numbers(file)
                looked[row] = values.shape, tuple(np.unique(values).tolist())  # type: ignore[assignment]
        return looked

    @property
    def black_and_white(self) -> bool:
        """Whether masks hold 0 and 255 alone, so that 255 is a class, and does not say that a pixel has none."""
        if self.codes or self.chosen:
            return str(IGNORED) in self.chosen
        return {value for _, there in self._looked_at.values() for value in there} == {0, IGNORED}

    @cached_property
    def numbering(self) -> dict[int, int]:
        """Value of a mask -> its class; values that say nothing are left out. Raises UserError for a value that has no class."""
        values = {value: row for row, (_, there) in self._looked_at.items() for value in there}
        silent = {value for value, name in self.codes.items() if name.lower() in UNLABELED}
        silent |= set() if IGNORED in self.codes or self.black_and_white else {IGNORED}
        telling = sorted(set(values) - silent)
        if self.codes and (unknown := [value for value in telling if value not in self.codes]):
            what = f"the value {unknown[0]} of this mask has no class in {FILE}"
            raise UserError(what, where=self.files[values[unknown[0]]], hint=f"it names {', '.join(map(str, sorted(self.codes)))}")
        named = {value: self.codes.get(value, str(value)) for value in (sorted(set(self.codes) - silent) if self.codes else telling)}
        if not self.chosen:
            return {value: number for number, value in enumerate(named)}
        if unknown := [value for value in telling if named[value] not in self.chosen]:
            what = f"the run has not learned the class {named[unknown[0]]!r} of this mask"
            raise UserError(what, where=self.files[values[unknown[0]]], hint=f"it knows {', '.join(self.chosen)}")
        return {value: self.chosen.index(name) for value, name in named.items() if name in self.chosen}

    @property
    def names(self) -> tuple[str, ...]:
        if len(self.numbering) > MOST:
            hint = "the value of a pixel is its class; colours of three channels are no masks"
            raise UserError(f"there are {len(self.numbering):,} different values in these masks", where=self.files[0], hint=hint)
        return self.chosen or tuple(self.codes.get(value, str(value)) for value in self.numbering)

    def faults(self, sizes: Sequence[tuple[int, int]]) -> dict[int, str]:
        """Pictures whose mask says nothing, and why. sizes: of the pictures. Raises UserError for a mask of another size than its picture."""
        faults = {}
        for row, (size, values) in self._looked_at.items():
            if sizes[row] != (0, 0) and size != sizes[row]:
                mask, picture = (f"{shape[1]} x {shape[0]}" for shape in (size, sizes[row]))
                hint = "save masks at the size of their pictures"
                raise UserError(f"this mask has {mask} pixels, and its picture {picture}", where=self.files[row], hint=hint)
            if not set(values) & set(self.numbering):
                faults[row] = "its mask says nothing: no pixel has a class"
        return faults

    def truth(self, row: int) -> UInt8[Tensor, "height width"]:
        """The class of each pixel of a picture as it lies on disk, 255 where it has none."""
        file = self.files[row]
        assert file is not None
        values = numbers(file)
        table = np.full(max(int(values.max()), *self.numbering) + 1, IGNORED, np.uint8)
        for value, number in self.numbering.items():
            table[value] = number
        return torch.from_numpy(table[values])

    def laid_out(self, rows: Sequence[int], sides: tuple[int, int], sizes: Sequence[tuple[int, int]]) -> Value:
        """The masks of these pictures, scaled with them and laid where they are laid."""
        masks = torch.full((len(rows), *sides), IGNORED, dtype=torch.uint8)
        for place, row in enumerate(rows):
            tall, broad = scaled_to(sizes[row], sides)
            scaled = Image.fromarray(self.truth(row).numpy()).resize((broad, tall), Image.Resampling.NEAREST)
            masks[place, :tall, :broad] = torch.from_numpy(np.array(scaled))
        return Mask(masks)

    @property
    def notes(self) -> list[str]:
        silent = [f"{value} ({name})" for value, name in self.codes.items() if name.lower() in UNLABELED]
        notes = [f"pixels of the value {', '.join(silent)} count neither in losses nor in scores"] if silent else []
        if self.black_and_white:
            notes.append(f"masks hold 0 and {IGNORED} alone, so {IGNORED} is a class; beside other values it says that a pixel has none")
        return notes


def numbers(file: Path) -> np.ndarray:
    """(height, width) whole numbers. UserError where this is no picture of one channel."""
    try:
        with Image.open(file) as picture:
            picture.load()
            values = np.asarray(picture)
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"this mask cannot be read: {error}", where=file, hint="replace it, or remove it: its picture then has no mask") from error
    if values.ndim != 2 or values.dtype.kind not in "bui":
        what = f"this mask has {values.shape[-1] if values.ndim == 3 else 1} channels of {values.dtype}"
        raise UserError(what, where=file, hint="the value of a pixel is its class: save masks as PNG of one channel")
    return values.astype(np.int64)


def codes_of(places: Sequence[Path]) -> dict[int, str]:
    """What values are called, by the first `classes.csv` in these folders that has a column of whole numbers and one of names."""
    for path in (place / FILE for place in places):
        if not path.is_file():
            continue
        columns = {name.lower(): [cell.strip() for cell in cells] for name, cells in read_delimited(path).columns.items()}
        whole = next((cells for cells in columns.values() if cells and all(cell.isdigit() for cell in cells)), None)
        names = next((columns[name] for name in NAMES if name in columns and columns[name] is not whole), None)
        if whole is not None and names is not None:
            return dict(zip(map(int, whole), names, strict=True))
    return {}


def stem(name: str) -> str:
    return name[: -len(suffix)] if (suffix := PurePosixPath(name).suffix) else name


def beside(name: str, labels: str) -> str:
    """train/images/17 -> train/labels/17."""
    path = PurePosixPath(name)
    return str(path.parent.parent / labels / path.name) if len(path.parts) > 1 else f"{labels}/{path.name}"
