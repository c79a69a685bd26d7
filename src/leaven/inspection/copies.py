"""Samples that stand more than once in a data set, in two of its splits, or in a second data set."""

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leaven.data import DataSet
from leaven.errors import UserError
from leaven.inspection.near import Likeness, thumbnail_side, thumbnails
from leaven.modalities import Value, modality_of
from leaven.modalities.content import evenly_spaced
from leaven.vectors import label_of

COMPARED = 200_000  # pictures: the time for all pairs grows with their square
WAITING = 1_000_000  # pairs kept before they are joined to sets


@dataclass(frozen=True)
class Copies:
    """Rows that hold the same sample, the two that are most alike first. similarity: of these two, None where the contents are equal."""

    rows: list[int]
    similarity: float | None = None

    def to_dict(self, data: DataSet) -> dict[str, Any]:
        """rows, files, splits, the similarity of near copies, and the classes where they differ."""
        described: dict[str, Any] = {"rows": self.rows, "files": [origin(data, row) for row in self.rows]}
        if len(data.splits) > 1:
            described["splits"] = [name for name, members in data.splits.items() if torch.isin(members, torch.tensor(self.rows)).any()]
        if self.similarity is not None:
            described["similarity"] = round(self.similarity, 4)
        labels = [label_of(data, row) for row in self.rows]
        if len({label for label in labels if label is not None}) > 1:
            described["labels"] = labels
        return described


@dataclass(frozen=True)
class Near:
    """Near copies among the different contents of one data set.

    sets: the most alike first. within: (N, splits) bool: whether a split holds a near copy of that row's content. compared: pictures
    compared with each other; flat: those among them that have too little contrast to be told apart; alike: the least likeness of near copies.
    """

    sets: list[Copies]
    within: Tensor
    compared: int
    flat: int
    alike: float


def origin(data: DataSet, row: int) -> str:
    """Where a row came from, for people."""
    return data.files[row] or f"#{row}"


def exact_copies(data: DataSet) -> list[Copies]:
    """Sets of rows with equal contents, in the order of their first row."""
    return [Copies(rows.tolist()) for rows in _sets(np.unique(data.hashes.numpy(), return_inverse=True)[1])]


def visible_role(data: DataSet) -> str | None:
    """The first role whose samples are pictures themselves."""
    return next((role for role, spec in data.spec.roles.items() if modality_of(spec).visible and spec.planar), None)


def pictures_of(data: DataSet) -> Value | None:
    """The samples of that role."""
    role = visible_role(data)
    return None if role is None else data.rows[role]


def near_copies(data: DataSet, *, device: str = "cpu") -> Near | None:
    """Near copies among at most 200,000 of the different pictures, evenly spaced; None where there are no pictures."""
    value = pictures_of(data)
    if value is None:
        return None
    _, first, content = np.unique(data.hashes.numpy(), return_index=True, return_inverse=True)
    rows = np.sort(first)[evenly_spaced(len(first), COMPARED)]
    place = np.full(len(first), -1)  # of each content among the compared ones; -1: not compared
    place[content[rows]] = np.arange(len(rows))
    small, flat = thumbnails(value, torch.from_numpy(rows), thumbnail_side(value))
    likeness = Likeness.of(small)

    holds = np.zeros((len(rows) + 1, len(data.splits)), bool)  # whether a split holds that very content; the last row: of those not compared
    for split, members in enumerate(data.splits.values()):
        holds[place[content[members.numpy()]], split] = True
    within = np.zeros_like(holds)
    best, partner = np.full(len(rows), -1.0, np.float32), np.zeros(len(rows), np.int64)
    component = np.arange(len(rows))
    waiting: list[np.ndarray] = []
    for pairs in likeness.pairs(small, device=device):
        i, j, cosine = (part.numpy() for part in pairs)
        for a, b in ((i, j), (j, i)):
            np.maximum.at(best, a, cosine)
            closest = cosine == best[a]
            partner[a[closest]] = b[closest]
            np.logical_or.at(within, a, holds[b])
        waiting.append(np.stack([i, j]))
        if sum(part.shape[1] for part in waiting) > WAITING:
            component, waiting = _joined(component, waiting), []
    sets = []
    for same in _sets(_joined(component, waiting)):
        one = same[best[same].argmax()]
        two = sorted((one, partner[one]))
        sets.append(Copies(rows[[*two, *(row for row in same if row not in two)]].tolist(), float(best[one])))
    sets.sort(key=lambda copies: -(copies.similarity or 0))
    return Near(sets, torch.from_numpy(within[place[content]]), len(rows), int(flat.sum()), likeness.alike)


def split_overlap(data: DataSet, near: Near | None) -> list[dict[str, Any]]:
    """For each two splits: of, samples, in, and how many samples of the one stand in the other, exactly or (else) nearly."""
    splits = [name for name in ("train", "val", "test") if name in data.splits]
    overlaps = []
    for first, second in combinations(splits, 2):
        rows = data.splits[second]
        equal = torch.isin(data.hashes[rows], data.hashes[data.splits[first]])
        alike = None if near is None else int((near.within[rows, list(data.splits).index(first)] & ~equal).sum())
        overlaps.append({"of": second, "samples": len(rows), "in": first, "exact": int(equal.sum()), "near": alike})
    return overlaps


def shared_with(data: DataSet, other: DataSet, *, device: str = "cpu") -> dict[str, Any]:
    """The samples of `other` that stand in `data`: data (its name), samples, exact, near (None without pictures); pairs: list of {row, file, in_row,
    in_file, similarity (None: equal)}. Raises UserError for data sets of different kinds."""
    mine, theirs = (next(iter(opened.spec.roles.values())) for opened in (data, other))
    if mine.modality != theirs.modality or modality_of(mine).difference(theirs, mine):
        kinds = [f"{spec.modality} {' x '.join(map(str, spec.shape))}" for spec in (theirs, mine)]
        raise UserError(f"it holds {kinds[0]} and {data.name} holds {kinds[1]}: they cannot overlap", where=other.name)
    first_row: dict[int, int] = {}
    for row, content in enumerate(data.hashes.tolist()):
        first_row.setdefault(content, row)
    here = [first_row.get(content) for content in other.hashes.tolist()]
    pairs: list[tuple[int, int, float | None]] = [(row, own, None) for row, own in enumerate(here) if own is not None]
    exact, near = len(pairs), None
    own_value, other_value = pictures_of(data), pictures_of(other)
    if own_value is not None and other_value is not None:
        own_rows, rest = evenly_spaced(len(data), COMPARED), np.flatnonzero([own is None for own in here])
        rest = rest[evenly_spaced(len(rest), COMPARED)]
        closest: dict[int, tuple[float, int]] = {}
        if len(rest):
            side = thumbnail_side(own_value, other_value)
            small, other_small = (thumbnails(value, torch.from_numpy(rows), side)[0] for value, rows in ((own_value, own_rows), (other_value, rest)))
            for i, j, cosine in Likeness.of(small).pairs(small, other_small, device=device):
                for a, b, similarity in zip(i.tolist(), j.tolist(), cosine.tolist(), strict=True):
                    closest[b] = max(closest.get(b, (-1.0, 0)), (similarity, a))
        near = len(closest)
        for b, (similarity, a) in sorted(closest.items(), key=lambda item: -item[1][0]):
            pairs.append((int(rest[b]), int(own_rows[a]), round(similarity, 4)))
    described = [
        {"row": row, "file": origin(other, row), "in_row": own, "in_file": origin(data, own), "similarity": similarity}
        for row, own, similarity in pairs
    ]
    return {"data": other.name, "samples": len(other), "exact": exact, "near": near, "pairs": described}


def _sets(group: np.ndarray) -> list[np.ndarray]:
    """The rows of each group that has several, in the order of their first row."""
    several = np.flatnonzero((np.bincount(group) > 1)[group])
    order = several[np.argsort(group[several], kind="stable")]
    parts = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    return sorted((part for part in parts if len(part)), key=lambda part: part[0])


def _joined(component: np.ndarray, pairs: list[np.ndarray]) -> np.ndarray:
    """Each row's component (numbered from 0) when pairs are linked as well."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count, first = len(component), np.unique(component, return_index=True)[1]
    links = np.concatenate([np.stack([np.arange(count), first[component]]), *pairs], axis=1)
    return connected_components(coo_array((np.ones(links.shape[1], bool), tuple(links)), shape=(count, count)), directed=False)[1]
