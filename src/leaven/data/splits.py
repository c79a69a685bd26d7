"""Which samples are for learning and which for testing."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from leaven.errors import UserError

CANONICAL = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "t10k": "test",
}
FILLERS = {"set", "data", "dataset", "split", "part", "images", "pictures", "files", "folder"}
HELD_OUT_PARTS = 5


def canonical(name: str) -> str | None:
    """`train`, `val` or `test` for the usual spellings of these, such as training_set, None for anything else."""
    words = [word for word in re.split(r"[\W_]+", name.strip().lower()) if word]
    telling = [word for word in words if word not in FILLERS]
    return CANONICAL.get(telling[0]) if len(telling) == 1 else None


def split_of(file: str) -> str | None:
    """`train`, `val` or `test` where a file's name begins so, or its folder's name is so."""
    path = Path(file)
    return canonical(path.stem.replace("_", "-").split("-")[0]) or canonical(path.parent.name)


def split_rows(names: Sequence[str | None]) -> dict[str, Tensor]:
    """Row indices by split from each row's split name; {"all": ...} where no row says train, val or test.

    Rows that name no split, beside rows that do, become the split "other", which is neither trained on nor tested on.
    """
    known = [canonical(name) if name else None for name in names]
    if not any(known):
        return {"all": torch.arange(len(known))}
    column = np.array([name or "other" for name in known])
    present = [name for name in ("train", "val", "test", "other") if (column == name).any()]
    return {name: torch.from_numpy(np.flatnonzero(column == name)) for name in present}


def rows_to_train_on(splits: Mapping[str, Tensor], count: int) -> Tensor:
    """The rows of the train split, else those of neither val nor test, else all. count: of all rows."""
    if "train" in splits:
        return splits["train"]
    rest = torch.ones(count, dtype=torch.bool)
    for name in {"val", "test"} & splits.keys():
        rest[splits[name]] = False
    return rest.nonzero().flatten() if rest.any() else torch.arange(count)


def hold_out(hashes: Tensor, groups: Tensor) -> Tensor:
    """(N,) bool, true for the fifth of the samples that is held out: a function of the content alone, not of order or paths.

    hashes: (N,) int64 content hashes; groups: (N,) int64, -1 = none. Groups and identical samples stay on one side. Where so few
    samples or groups are left that one side would be empty, the first fifth in hash order is held out instead.
    Raises UserError when nothing can be kept apart.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(hashes)
    contents, content = np.unique(hashes.numpy(), return_inverse=True)
    group = groups.numpy()
    grouped = np.flatnonzero(group >= 0)
    names, group_of = np.unique(group[grouped], return_inverse=True)
    nodes = len(contents) + len(names)
    links = coo_array((np.ones(len(grouped), bool), (content[grouped], len(contents) + group_of)), shape=(nodes, nodes))
    whole = connected_components(links, directed=False)[1][content]
    wholes = int(whole.max()) + 1 if count else 0
    if len(np.unique(whole)) < 2:
        raise UserError("cannot hold out a test part: all samples are identical or of one group", hint="give a test split, or more samples")
    key = np.full(wholes, np.iinfo(np.int64).max)
    np.minimum.at(key, whole, hashes.numpy())
    held = (key % HELD_OUT_PARTS == 0)[whole]
    if held.all() or not held.any():
        order = [part for part in np.argsort(key, kind="stable") if (whole == part).any()]
        sizes = np.bincount(whole, minlength=wholes)[order]
        enough = int(np.searchsorted(np.cumsum(sizes), count / HELD_OUT_PARTS)) + 1
        held = np.isin(whole, order[: min(enough, len(order) - 1)])
    return torch.from_numpy(held)
