"""Labels: classes numbered over all splits together, -1 where a sample has none; or tags, of which a sample has any number."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, get_type_hints

import numpy as np
import torch
from torch import Tensor

from leaven.errors import UserError
from leaven.hyperparameters import Count, convert
from leaven.modalities import Tags, Value

MISSING = {"", "nan", "<na>", "#n/a", "n/a", "na", "null", "nat"}
"""Texts by which tables say that a value is missing, in lower case."""
TAG_MARKS, SEVERAL_TAGS = ";|,", 0.05  # and the share of labels with several tags from which they are tags
WHOLE = re.compile(r"[+-]?\d+\.0*")
BINARY = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "-1": -1, "-1.0": -1, "false": 0, "true": 1, "no": 0, "yes": 1}
"""How a column says that samples have a tag, in lower case; -1 is 0 where no cell is 0."""


@dataclass(frozen=True)
class LabelReading:
    """How labels are read. labels: as "classes", one per sample, or as "tags" (None: chosen, and said). fewest: samples that a tag needs; rarer ones
    are left out."""

    labels: Literal["classes", "tags"] | None = None
    fewest: Count = 1

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """From what a user set, as text or as Python values."""
        return cls(
            **{name: convert(settings[name], kind, name) for name, kind in get_type_hints(cls, include_extras=True).items() if name in settings}
        )


@dataclass(frozen=True, eq=False)
class Labels:
    """ids: (N,) int64, an index into names or -1; names: the classes in order; notes: what is unusual about how they were read.

    present: (N, names) int8 where samples have tags; the names are then those of the tags, and ids are -1 (see `Tags`).
    """

    ids: Tensor
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    present: Tensor | None = None

    @classmethod
    def none(cls, count: int) -> Labels:
        return cls(torch.full((count,), -1, dtype=torch.int64), ())

    @classmethod
    def of_tags(cls, present: Tensor, names: Sequence[str], notes: Sequence[str] = ()) -> Labels:
        return cls(torch.full((len(present),), -1, dtype=torch.int64), tuple(names), tuple(notes), present)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def class_names(self) -> tuple[str, ...]:
        return () if self.present is not None else self.names

    @property
    def tag_names(self) -> tuple[str, ...]:
        return () if self.present is None else self.names

    def roles(self) -> dict[str, Value]:
        """What stands among the roles of a batch: tags."""
        return {} if self.present is None else {"tags": Tags(self.present)}

    def at(self, rows: Tensor) -> Labels:
        """Those of these samples."""
        return replace(self, ids=self.ids[rows], present=None if self.present is None else self.present[rows])

    def common(self, fewest: int) -> Labels:
        """Without the tags that fewer samples have. Raises UserError where none is left, or samples have no tags."""
        if fewest == 1:
            return self
        if self.present is None:
            raise UserError(f"fewest={fewest} leaves out rare tags, and these labels are classes", hint="leave it out, or add --set labels=tags")
        kept = ((self.present > 0).sum(0) >= fewest).nonzero().flatten()
        if not len(kept):
            raise UserError(f"no tag has {fewest} samples", hint="set a smaller fewest")
        note = f"left out: {len(self.names) - len(kept):,} of {len(self.names):,} tags, which fewer than {fewest} samples have"
        return replace(self, names=tuple(self.names[place] for place in kept.tolist()), present=self.present[:, kept], notes=(*self.notes, note))


def read(values: Any, names: Sequence[str] = (), how: LabelReading | None = None) -> Labels:
    """Labels as a user gives them in Python: classes as `number` takes them; tags as lists of names, as `Tags`, or as (N, tags) of 0 and 1; texts may
    be lists with marks between the tags."""
    how = how or LabelReading()
    if isinstance(values, Labels):
        return values
    if isinstance(values, Tags):
        return of_matrix(values.main, names, how if how.labels else replace(how, labels="tags"))
    values = values.main if isinstance(values, Value) else values
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
    if getattr(array, "ndim", 1) == 2 and array.shape[1] > 1:
        return of_matrix(array, names, how)
    if how.labels == "tags" or not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        cells = [None if cell is None or (isinstance(cell, str) and not cell.strip()) else cell for cell in list(array)]
        texts = [cell.strip() for cell in cells if isinstance(cell, str)]
        if any(isinstance(cell, list | tuple | set | frozenset) for cell in cells):
            return of_lists(cells, names, how)
        if texts and (mark := mark_between(texts, how)):
            return of_lists([None if cell is None else mark_split(str(cell), mark) for cell in cells], names, how, texts)
    return single_tags(number(values, names)) if how.labels == "tags" else number(values, names)


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


def of_cells(cells: Sequence[Any], names: Sequence[str] = (), how: LabelReading | None = None) -> Labels:
    """The labels in a column of a table, where NaN, NA and the like mean "no label", and 1.0 is the class 1 if all are written so. Lists, and texts
    with marks between names, are tags."""
    how = how or LabelReading()
    if any(isinstance(cell, Collection) and not isinstance(cell, str) for cell in cells):
        return of_lists(cells, names, how)
    if not any(isinstance(cell, str) for cell in cells):
        return single_tags(number(cells, names)) if how.labels == "tags" else number(cells, names)
    texts = [None if cell is None or str(cell).strip().lower() in MISSING else str(cell).strip() for cell in cells]
    known = [text for text in texts if text]
    if mark := mark_between(known, how):
        return of_lists([text and mark_split(text, mark) for text in texts], names, how, known)
    whole = all(WHOLE.fullmatch(text) for text in known)
    labels = number([text and text.partition(".")[0] if whole else text for text in texts], names)
    return replace(labels, notes=(*labels.notes, *combinations_note(known)))


def mark_between(texts: Sequence[str], how: LabelReading) -> str:
    """The mark that stands between the tags of a label; empty where labels are classes.

    Labels are lists of tags where at least one in 20 has the mark, and tags come again in others; since commas stand in names as well, with commas
    there must be fewer tags than different labels.
    """
    if how.labels == "classes":
        return ""
    counts = {mark: sum(mark in text for text in texts) for mark in TAG_MARKS}
    if how.labels == "tags":
        return next((mark for mark, count in counts.items() if count), TAG_MARKS[0])
    for mark, several in counts.items():
        tags, places, labels = sizes_of(texts, mark)
        if several > SEVERAL_TAGS * len(texts) and tags < (labels if mark == "," else places):
            return mark
    return ""


def sizes_of(texts: Sequence[str], mark: str) -> tuple[int, int, int]:
    """How many different tags there are, how many these are in all different labels together, and how many different labels."""
    lists = [mark_split(text, mark) for text in set(texts)]
    return len({tag for tags in lists for tag in tags}), sum(map(len, lists)), len(lists)


def mark_split(text: str, mark: str) -> list[str]:
    return [tag for part in text.split(mark) if (tag := part.strip())]


def combinations_note(texts: Sequence[str]) -> tuple[str, ...]:
    """What to know where labels that are read as classes look like lists of tags."""
    for mark in TAG_MARKS:
        tags, places, labels = sizes_of(texts, mark)
        if sum(mark in text for text in texts) > SEVERAL_TAGS * len(texts) and tags < places:
            example = next(text for text in texts if mark in text)
            return (f"each of the {labels:,} different labels, such as {example!r}, is one class; --set labels=tags reads lists of {tags:,} tags",)
    return ()


def of_lists(
    lists: Sequence[Collection[Any] | None], names: Sequence[str] = (), how: LabelReading | None = None, texts: Sequence[str] = ()
) -> Labels:
    """Tags from a list for each sample; None where it has no label, an empty list where it has no tag. names: those that whole numbers stand for.
    texts: the labels before they were split."""
    lists = [None if tags is None else [names[tag] if names and not isinstance(tag, str) else str(tag).strip() for tag in tags] for tags in lists]
    ordered = tuple(names) or sort_names({tag for tags in lists if tags for tag in tags if tag})
    if not ordered:
        return Labels.none(len(lists))
    if how is not None and how.labels == "classes":
        return number([None if tags is None else ";".join(sorted(tags)) for tags in lists])
    place = {tag: column for column, tag in enumerate(ordered)}
    present = torch.zeros(len(lists), len(ordered), dtype=torch.int8)
    for row, tags in enumerate(lists):
        if tags is None:
            present[row] = -1
        else:
            present[row, [place[tag] for tag in tags if tag]] = 1
    several = len(set(texts)) if texts else len({tuple(sorted(tags)) for tags in lists if tags})
    example = next((text for text in texts if any(mark in text for mark in TAG_MARKS)), "")
    such = f", such as {example!r}" if example else ""
    return Labels.of_tags(
        present, ordered, (f"labels are lists of {len(ordered):,} tags{such}; --set labels=classes makes each of {several:,} lists a class",)
    )


def single_tags(labels: Labels) -> Labels:
    """Classes as tags, of which each sample has one."""
    present = (labels.ids[:, None] == torch.arange(len(labels.names))).char()
    present[labels.ids < 0] = -1
    return Labels.of_tags(present, labels.names, labels.notes)


def of_columns(columns: Mapping[str, Sequence[Any]], how: LabelReading | None = None) -> Labels | None:
    """The labels that several columns of 0 and 1 say, one for each name; None where they hold something else."""
    matrix = np.full((len(next(iter(columns.values()))), len(columns)), np.nan)
    for place, cells in enumerate(columns.values()):
        texts = ["" if cell is None or cell != cell else str(cell).strip().lower() for cell in cells]
        if not are_binary(texts):
            return None
        matrix[:, place] = [BINARY.get(text, np.nan) for text in texts]
    return of_matrix(matrix, tuple(columns), how)


def are_binary(texts: Sequence[str]) -> bool:
    """Whether cells, in lower case, say yes or no, or nothing; and not all nothing."""
    known = {text for text in texts if text not in MISSING}
    return bool(known) and known <= set(BINARY)


def of_matrix(values: Any, names: Sequence[str] = (), how: LabelReading | None = None) -> Labels:
    """The labels that (N, names) of 0 and 1 say. A row in which all is missing (NaN or -1) has no label; what is missing in others is 0. Where no
    number is 0, -1 is. Raises UserError for other numbers.

    Where each row has exactly one 1 they are classes, unless the user wants tags.
    """
    how, matrix = how or LabelReading(), np.asarray(values, dtype=float)
    numbers = set(np.unique(matrix[~np.isnan(matrix)]).tolist())
    if not numbers <= {-1, 0, 1}:
        hint = "give (N, tags) of 0 and 1, or one class for each sample"
        raise UserError(f"labels of the shape {matrix.shape} hold numbers that are neither 0 nor 1, such as {max(numbers, key=abs):g}", hint=hint)
    missing = np.isnan(matrix) | ((matrix == -1) & (0 in numbers))
    present, unlabeled = (matrix == 1).astype(np.int8), missing.all(1)
    present[unlabeled] = -1
    names = tuple(names) or tuple(map(str, range(matrix.shape[1])))
    partly = int((missing.any(1) & ~unlabeled).sum())
    notes = [f"{partly:,} samples do not say of every tag whether they have it; what they do not say is read as no"] if partly else []
    single = bool((present[~unlabeled].sum(1) == 1).all()) and not unlabeled.all()
    if how.labels == "classes" and not single:
        raise UserError("samples have several of the tags, or none, so these are no classes", hint="leave --set labels=classes out")
    if single and how.labels != "tags":
        note = f"each sample has one of {len(names):,} columns: they are its class; --set labels=tags reads each column as a tag"
        return Labels(torch.from_numpy(np.where(unlabeled, -1, present.argmax(1))), names, (*notes, note))
    several = len(np.unique(present[~unlabeled], axis=0))
    return Labels.of_tags(
        torch.from_numpy(present), names, (*notes, f"each of {len(names):,} columns is a tag, and samples have {several:,} combinations")
    )


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
