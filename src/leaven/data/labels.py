"""Labels: classes numbered over all splits together, -1 where a sample has none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leaven.errors import UserError
from leaven.modalities import Value

MISSING = {"", "nan", "<na>", "#n/a", "n/a", "na", "null", "nat"}
"""Texts by which tables say that a value is missing, in lower case."""
TAG_MARKS, SEVERAL_TAGS = ";|,", 0.05  # and the share of labels with such a mark from which they are lists of tags
WHOLE = re.compile(r"[+-]?\d+\.0*")


@dataclass(frozen=True, eq=False)
class Labels:
    """ids: (N,) int64, an index into names or -1; names: the classes in order; notes: what is unusual about how they were read."""

    ids: Tensor
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def none(cls, count: int) -> Labels:
        return cls(torch.full((count,), -1, dtype=torch.int64), ())


def number(values: Any, names: Sequence[str] = ()) -> Labels:
    """Classes from integers, strings, or a mixture; None, NaN, negative integers (but -1 beside 1 alone) and empty strings mean "no label".

    values: a sequence, array, tensor or `Label` of length N; `Labels` stay what they are. With `names`, integers are indices into it; without,
    classes are sorted (as numbers when all of them are whole numbers) and numbered from 0. Raises UserError for labels that are not classes.
    """
    if isinstance(values, Labels):
        return values
    array = _array(values)
    if array.dtype.kind in "iu":
        if names:
            if len(array) and array.max() >= len(names):
                raise UserError(f"label {array.max()} has no name: there are {len(names)} class names")
            return Labels(torch.from_numpy(np.where(array < 0, -1, array)), tuple(names))
        classes, ids = np.unique(array, return_inverse=True)
        negative = 0 if classes.tolist() == [-1, 1] else int((classes < 0).sum())
        return Labels(torch.from_numpy(np.maximum(ids - negative, -1)), tuple(str(c) for c in classes[negative:]))
    texts = [None if value is None or value != value else str(value).strip() for value in array.tolist()]
    ordered = sort_names({text for text in texts if text})
    index = {name: i for i, name in enumerate(ordered)}
    return Labels(torch.tensor([index.get(text, -1) if text else -1 for text in texts], dtype=torch.int64), ordered)


def of_cells(cells: Sequence[Any], names: Sequence[str] = ()) -> Labels:
    """The classes in a column of a table, where NaN, NA and the like mean "no label", and 1.0 is the class 1 if all are written so."""
    if not any(isinstance(cell, str) for cell in cells):
        return number(cells, names)
    texts = [None if cell is None or str(cell).strip().lower() in MISSING else str(cell).strip() for cell in cells]
    whole = all(WHOLE.fullmatch(text) for text in texts if text)
    labels = number([text and text.partition(".")[0] if whole else text for text in texts], names)
    return replace(labels, notes=(*labels.notes, *tags_note([text for text in texts if text])))


def tags_note(texts: Sequence[str]) -> tuple[str, ...]:
    """What to know where labels are lists of tags: fewer tags than combinations of them."""
    for mark in TAG_MARKS:
        several = [text for text in texts if mark in text]
        tags, combinations = {tag.strip() for text in texts for tag in text.split(mark)}, len(set(texts))
        if len(several) > SEVERAL_TAGS * len(texts) and len(tags) < combinations:
            return (f"labels are lists of {len(tags):,} tags, such as {several[0]!r}: each of the {combinations:,} combinations counts as a class",)
    return ()


def sort_names(names: set[str]) -> tuple[str, ...]:
    """In the order of numbers when all are plain whole numbers ("2" before "10"), else in the order of text."""
    whole = all(name.isascii() and name.isdigit() and str(int(name)) == name for name in names)
    return tuple(sorted(names, key=int) if whole else sorted(names))


def folders_are_classes(folders: Sequence[tuple[str, ...]], splits: Sequence[str | None]) -> bool:
    """Whether the pictures lie one folder deep, in at least two folders. Up to a tenth of them may lie beside these folders, which have no label, or
    deeper in them; and splits other than train may lie flat.

    folders: each picture's folders below the (split's) root, outermost first.
    """
    names = {parts[0] for parts in folders if len(parts) == 1}
    stray = sum(not parts and split in (None, "train") for parts, split in zip(folders, splits, strict=True))
    deeper = [parts for parts in folders if len(parts) > 1]
    return len(names) >= 2 and all(parts[0] in names for parts in deeper) and 10 * (stray + len(deeper)) <= len(folders)


def _array(values: Any) -> np.ndarray:
    values = values.main if isinstance(values, Value) else values
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    if not isinstance(values, np.ndarray):
        values = list(values)
        if all(value is None or isinstance(value, int | float | np.number) for value in values):
            values = np.array([-1 if value is None else value for value in values])
        else:
            values = np.array(values, dtype=object)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise UserError(f"labels have the shape {tuple(values.shape)}, not (N,)", hint="one class for each sample; -1 for none")
    if values.dtype.kind == "f":
        known = values[~np.isnan(values)]
        if (known != np.floor(known)).any():
            raise UserError("labels are fractions, not classes", hint="give whole numbers or names")
        return np.where(np.isnan(values), -1, values).astype(np.int64)
    return values.astype(np.int64) if values.dtype.kind in "biu" else values
