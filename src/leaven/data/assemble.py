"""From what readers found to a DataSet: samples, labels and splits of the rows that can be used in every role."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from leaven.data import labels as labeling
from leaven.data.batch import Batch, content_hashes
from leaven.data.cache import Progress, stored
from leaven.data.dataset import Broken, DataSet, InMemory
from leaven.data.labels import Labels
from leaven.data.sources.arrays import as_value
from leaven.data.sources.columns import Columns
from leaven.data.sources.folders import Folder
from leaven.data.sources.listing import Contents, Listing, Pictures
from leaven.data.sources.text_files import encodes, is_number
from leaven.data.splits import split_rows
from leaven.errors import UserError
from leaven.modalities import Geometry, Pixels, Strings, Text, Value, Vector, modality_of
from leaven.modalities.content import content_hash
from leaven.modalities.picture_files import survey


@dataclass(frozen=True)
class Options:
    """What the caller asked for; see `open_data`."""

    size: int | None = None
    channels: int | None = None
    labels: Any = None
    columns: Mapping[str, str] | None = None
    cache_dir: str | Path | None = None
    progress: Progress | None = None


@dataclass(frozen=True, eq=False)
class Part:
    """What plays one role: the samples that can be used, their rows, why the other rows cannot, and, where they are known, the samples' hashes."""

    value: Value
    kept: np.ndarray
    broken: Sequence[tuple[int, str]] = ()
    hashes: Tensor | None = None

    @classmethod
    def of_array(cls, value: Value) -> Part:
        """All samples but those that say nothing."""
        empty = modality_of(value).empty(value)
        if empty is None or not empty[0].any():
            return cls(value, np.arange(len(value)))
        kept = (~empty[0]).nonzero().flatten()
        return cls(value.take(kept), kept.numpy(), [(row, empty[1]) for row in empty[0].nonzero().flatten().tolist()])

    def at(self, rows: np.ndarray) -> Part:
        """The samples of these rows, all of which can be used."""
        place = torch.from_numpy(np.searchsorted(self.kept, rows))
        value = self.value if len(self.kept) == len(rows) else self.value.take(place)
        return Part(value, rows, hashes=None if self.hashes is None else self.hashes[place])


def from_listings(name: str, roles: Mapping[str, Any], options: Options, *, group: Tensor | None = None, unused: Sequence[str] = ()) -> InMemory:
    """A listing per role, some beside arrays. Labels, splits, groups and names are those of the first listing of pictures, else of the first one."""
    listings: dict[str, Any] = {role: listing for role, listing in roles.items() if isinstance(listing, Columns | Folder)}
    first = next((listing for listing in listings.values() if listing.kind == "pictures"), next(iter(listings.values())))
    values = as_values(name, {role: array for role, array in roles.items() if role not in listings}, options)
    if first.kind == "pictures" and (placed := [role for role, value in values.items() if modality_of(value).placed]):
        hint = "pictures from files are resized as they are decoded; give them as an array, so that what lies in them moves along"
        raise UserError(f"{placed[0]} cannot stand beside picture files", where=name, hint=hint)
    arrays = {role: Part.of_array(value) for role, value in values.items()}
    hashed = {role: Part(part.value, part.kept, part.broken, content_hashes({role: part.value})) for role, part in arrays.items()}
    own = options.labels is None or isinstance(options.labels, str | Path)
    return _joined(
        name,
        {role: hashed[role] if role in hashed else _part(listings[role], options) for role in roles},
        labels=first.labels(options.labels) if own else labeling.number(options.labels),
        splits=first.splits(),
        group=first.groups() if group is None and options.labels != "group" else group,  # a column of classes keeps no samples together
        names=first.names,
        listing=first if first.kind == "pictures" else None,
        unused=unused,
    )


def from_arrays(
    name: str,
    roles: Mapping[str, Any],
    labels: Labels | None,
    options: Options,
    *,
    group: Tensor | None = None,
    splits: list[str] | None = None,
    names: Sequence[str] | None = None,
    unused: Sequence[str] = (),
    broken: Sequence[tuple[int, str]] = (),
) -> InMemory:
    """Arrays, tensors, sparse matrices and Values, one per role. broken: rows that they lack, and why; labels, group, splits and names have them."""
    if options.columns:
        raise UserError("columns are for tables; these are arrays", where=name, hint="give a dict of role -> array")
    values = as_values(name, roles, options)
    counts = {role: len(value) + len(broken) for role, value in values.items()}
    counts |= {} if labels is None else {"label": len(labels.ids)}
    counts |= {} if group is None else {"group": len(group)}
    same_length(name, counts)
    missing = {row for row, _ in broken}
    kept = np.array([row for row in range(next(iter(counts.values()))) if row not in missing], np.int64)
    parts = {role: Part(value, kept, broken) if broken else Part.of_array(value) for role, value in values.items()}
    return _joined(name, parts, labels=_labels(name, options, labels, counts, names), splits=splits, group=group, names=names, unused=unused)


def as_values(name: str, roles: Mapping[str, Any], options: Options) -> dict[str, Value]:
    """Typed values at the size asked for, inputs before targets; what lies in pictures that are resized moves along."""
    values: dict[str, Value] = {}
    geometry: Geometry | None = None
    for role, array in roles.items():
        value = as_value(array, f"{name}, role {role}")
        values[role] = modality_of(value).resized(value, options.size, options.channels)
        geometry = geometry or modality_of(value).resizing(value, values[role])
    ordered = sorted(values.items(), key=lambda item: modality_of(item[1]).target)
    return {role: value if geometry is None else modality_of(value).moved(value, geometry) for role, value in ordered}


def same_length(name: str, counts: Mapping[str, int]) -> None:
    if len(set(counts.values())) > 1:
        raise UserError(f"lengths differ: {', '.join(f'{role} {count}' for role, count in counts.items())}", where=name)


def _labels(name: str, options: Options, labels: Labels | None, counts: Mapping[str, int], names: Sequence[str] | None) -> Labels:
    """The labels that the options ask for, else those that came with the arrays."""
    count = next(iter(counts.values()))
    if options.labels is None:
        return labels or Labels.none(count)
    return labeling.chosen(options.labels, names or ("",) * count, name)


def _part(listing: Listing, options: Options) -> Part:
    """Pictures decoded or found in the cache; texts and numbers as they are."""
    if not listing.names:
        raise UserError("there are no samples in it", where=getattr(listing, "place", listing.root))
    if listing.kind == "pictures":
        shown = cast(Pictures, listing)
        seen = survey(shown.sample())
        channels = options.channels or (1 if seen.grey else 3)
        cached = stored(shown, seen.side(options.size), channels, cache_dir=options.cache_dir, progress=options.progress)
        return Part(Pixels(cast(Tensor, cached.pixels)), cached.kept, cached.broken, cached.hashes)
    usable, broken = sort_out(cast(Contents, listing).contents(), as_text if listing.kind == "text" else as_number)
    if listing.kind == "text":
        value: Value = Text(Strings.of(usable.values()))
    else:
        value = Vector(torch.tensor(list(usable.values()), dtype=torch.float32)[:, None])
    return Part(value, np.array(list(usable), np.int64), broken, content_hashes({"x": value}))


class Unfit(Exception):
    """This cell is no sample, and why."""


def sort_out(cells: Sequence[Any], read: Callable[[Any], Any]) -> tuple[dict[int, Any], list[tuple[int, str]]]:
    """The samples by their rows; the other rows, and why they have none."""
    usable, broken = {}, []
    for row, cell in enumerate(cells):
        try:
            usable[row] = read(cell)
        except Unfit as reason:
            broken.append((row, str(reason)))
    return usable, broken


def as_text(cell: Any) -> str:
    why = "no text" if not isinstance(cell, str) else "empty" if not cell.strip() else "" if encodes(cell) else "not UTF-8"
    if why:
        raise Unfit(why)
    return cell


def as_number(cell: Any) -> float:
    number = float(cell) if cell is not None and is_number(str(cell)) else math.nan
    if not math.isfinite(number):
        raise Unfit("no number" if cell in (None, "") else f"{cell!r} is no number")
    return number


def _joined(
    name: str,
    parts: Mapping[str, Part],
    *,
    labels: Labels,
    group: Tensor | None = None,
    splits: Sequence[str | None] | None = None,
    names: Sequence[str] | None = None,
    listing: Pictures | None = None,
    unused: Sequence[str] = (),
) -> InMemory:
    """The rows that no role lacks. labels, group, splits, names: of all rows, those that are set aside included."""
    first = next(iter(parts.values()))
    total = len(first.kept) + len(first.broken)
    if len(labels.ids) != total:
        raise UserError(f"{len(labels.ids)} labels for {total} samples", where=name, hint="give one for each sample, -1 for none")
    why = {row: reason for part in parts.values() for row, reason in part.broken}
    kept = np.array([row for row in range(total) if row not in why], np.int64)
    if not len(kept):
        what = f"none of the {total} samples can be used, the first because: {why[min(why)]}" if why else "no samples"
        raise UserError(what, where=name, hint="look whether the right data was given")
    usable = {role: part.at(kept) for role, part in parts.items()}
    if names is None and why:
        names = [f"#{row}" for row in range(total)]
    rows = torch.from_numpy(kept)
    return DataSet.of(
        name,
        Batch(
            {role: part.value for role, part in usable.items()},
            labels.ids[rows],
            torch.arange(len(kept)),
            (Labels.none(total).ids if group is None else group)[rows],
        ),
        splits=None if splits is None else split_rows([splits[row] for row in kept]),
        class_names=labels.names,
        hashes=_hashes(part.hashes for part in usable.values()),
        files=None if names is None else [names[row] for row in kept],
        broken=[Broken("" if names is None else names[row], why[row]) for row in sorted(why)],
        unused=unused,
        listing=listing,
    )


def _hashes(hashes: Iterable[Tensor | None]) -> Tensor | None:
    """One hash per sample from those of its roles; None where they are not known."""
    known = [part for part in hashes if part is not None]
    if len(known) < 2:
        return known[0] if known else None
    return torch.tensor([content_hash(row.tobytes()) for row in torch.stack(known, 1).numpy()])
