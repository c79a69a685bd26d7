"""Data sets that are called by name: a folder under the root, a torchvision class, or one that comes with a library."""

import inspect
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from leaven.data.batch import content_hashes
from leaven.data.sources.shapes import drawn
from leaven.errors import UserError
from leaven.modalities import Pixels, Strings, Text

DIGITS_TEST = 600


def plain(name: str) -> str:
    """A name without case, `-` and `_`."""
    return name.lower().replace("-", "").replace("_", "")


def data_root(root: str | Path | None) -> Path | None:
    """Where named data sets lie: the argument, else LEAVEN_DATA, else nowhere."""
    chosen = root or os.environ.get("LEAVEN_DATA")
    return Path(chosen).expanduser() if chosen else None


def find_folder(name: str, root: Path | None) -> Path | None:
    """The folder under root whose name is this, but for case, `-` and `_`."""
    if root is None or not root.is_dir():
        return None
    return next((path for path in sorted(root.iterdir()) if path.is_dir() and plain(path.name) == plain(name)), None)


def not_found(name: str, root: Path | None) -> UserError:
    if root is None:
        return UserError(
            f"no file, folder or data set {name!r}: named data sets need a place to look in",
            where=Path.cwd(),
            hint="set LEAVEN_DATA (or --data-root) to the folder that they lie in",
        )
    there = ", ".join(sorted(path.name for path in root.iterdir() if path.is_dir())[:12]) if root.is_dir() else ""
    what = f"no data set {name!r}: neither a folder of that name nor the files of a torchvision data set of that name"
    return UserError(what, where=root, hint=f"there are {there}" if there else "that folder is missing or empty; nothing is fetched")


def from_torchvision(name: str, roots: list[Path]) -> tuple[Any, Any, list[str], tuple[str, ...]] | None:
    """(pictures, labels, splits, class names) of the torchvision data set, never downloaded; None when it or its files are not there.

    Raises UserError for one that keeps its pictures as files: its folder can be opened instead.
    """
    import torchvision.datasets as catalogue

    kinds: list[Any] = [kind for kind in vars(catalogue).values() if inspect.isclass(kind) and plain(kind.__name__) == plain(name)]
    parameters = inspect.signature(kinds[0]).parameters if kinds else {}
    if "download" not in parameters:
        return None
    if "train" in parameters:
        choices: dict[str, dict[str, Any]] = {"train": {"train": True}, "test": {"train": False}}
    else:
        choices = {split: {"split": split} for split in ("train", "val", "test")} if "split" in parameters else {"train": {}}
    for root in roots:
        parts = {}
        for split, arguments in choices.items():
            try:
                parts[split] = kinds[0](root=str(root), download=False, **arguments)
            except (RuntimeError, OSError, ValueError, ImportError, TypeError):
                continue
        if parts:
            return _joined(name, root, parts)
    return None


def _joined(name: str, root: Path, parts: dict[str, Any]) -> tuple[Any, Any, list[str], tuple[str, ...]]:
    if not all(hasattr(part, "data") and hasattr(part.data, "shape") for part in parts.values()):
        raise UserError(f"torchvision keeps {name!r} as picture files", where=root, hint="give the folder of its pictures")
    labels = [np.asarray(getattr(part, "targets", getattr(part, "labels", None))) for part in parts.values()]
    pictures = [np.asarray(part.data) for part in parts.values()]
    splits = [split for split, part in parts.items() for _ in range(len(part.data))]
    names = getattr(next(iter(parts.values())), "classes", ())
    return np.concatenate(pictures), np.concatenate(labels), splits, tuple(names)


def demo(name: str) -> tuple[dict[str, Any], Any, list[str]]:
    """(samples by role, labels, splits) of `digits` or `shapes`."""
    if name not in DEMOS:
        raise UserError(f"no demo data set {name!r}", hint=f"there are {' and '.join(f'demo:{known}' for known in DEMOS)}")
    return DEMOS[name]()


def shapes() -> tuple[dict[str, Any], list[str], list[str]]:
    """Pictures of coloured shapes with sentences about them; the labels are colour and shape. See `shapes.drawn`."""
    world = drawn()
    labels = [f"{colour} {shape}" for colour, shape in zip(world.colours, world.shapes, strict=True)]
    return {"image": world.pictures, "text": Text(Strings.of(world.captions))}, labels, world.splits


def digits() -> tuple[dict[str, Any], Tensor, list[str]]:
    """1797 handwritten digits that come with scikit-learn, grey, 16 x 16 uint8 (from 8 x 8). The test split is 600 of them, by content hash."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    unit = torch.from_numpy(loaded.images).float()[:, None] / 16
    pictures = (interpolate(unit, scale_factor=2, mode="bilinear") * 255).round().to(torch.uint8)
    order = content_hashes({"x": Pixels(pictures)}).argsort(stable=True)
    is_test = torch.zeros(len(order), dtype=torch.bool)
    is_test[order[:DIGITS_TEST]] = True
    return {"x": pictures}, torch.from_numpy(loaded.target), ["test" if test else "train" for test in is_test.tolist()]


DEMOS = {"digits": digits, "shapes": shapes}
