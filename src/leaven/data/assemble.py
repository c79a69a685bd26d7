"""From what readers give to a DataSet: samples, labels and splits of the rows that can be used in every role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leaven.data import labels as labeling
from leaven.data.batch import Batch, content_hashes
from leaven.data.cache import Progress
from leaven.data.class_names import with_names
from leaven.data.dataset import Broken, DataSet
from leaven.data.groups import groups_by, labels_by_pattern
from leaven.data.label_files import chosen_labels
from leaven.data.labels import LabelReading, Labels
from leaven.data.picture_cache import stored
from leaven.data.recording_cache import stored_recordings
from leaven.data.sources.arrays import as_value
from leaven.data.sources.listing import Listing, Part
from leaven.data.sources.numbers import Vectors
from leaven.data.sources.text_files import encodes
from leaven.data.splits import rows_to_train_on, split_rows
from leaven.data.windows import Windows, windows_of
from leaven.errors import UserError
from leaven.modalities import MODALITIES, Geometry, Strings, Text, Value, modality_of
from leaven.modalities.content import content_hash, evenly_spaced
from leaven.modalities.decoding import Reading, range_note, survey
from leaven.modalities.picture_files import Source
from leaven.modalities.recording_files import RecordingReading
from leaven.modalities.resampling import resampled_length
from leaven.modalities.text import as_written


@dataclass(frozen=True)
class Options:
    """What the caller asked for; see `open_data`."""

    size: int | None = None
    channels: int | None = None
    labels: Any = None
    columns: Mapping[str, str] | None = None
    reading: Reading = field(default_factory=Reading)
    recording: RecordingReading = field(default_factory=RecordingReading)
    rate: float | None = None  # of arrays over time; the recording's is the rate at which they are wanted
    table: Sequence[Mapping[str, Any]] | None = None
    groups: str | None = None
    cache_dir: str | Path | None = None
    progress: Progress | None = None
    how: LabelReading = field(default_factory=LabelReading)
    unpaired: bool = False


def assemble(
    name: str,
    roles: Mapping[str, Any],
    options: Options,
    *,
    labels: Any = None,
    class_names: Sequence[str] = (),
    group: Labels | None = None,
    splits: Sequence[str | None] | None = None,
    names: Sequence[str] | None = None,
    unused: Sequence[str] = (),
    broken: Sequence[tuple[int, str]] = (),
    notes: Sequence[str] = (),
    columns: Sequence[str] = (),
    place: Path | None = None,
) -> DataSet:
    """A data set of listings, arrays, tensors, sparse matrices and Values, one per role: the rows that no role lacks.

    labels, group, splits and names are of all rows, those set aside included. Where there are listings, those of the first listing of pictures, else
    of the first one, stand in for them. broken: rows that the arrays lack, and why. columns: all of the table from which the samples are.
    place: the folder of the arrays.
    """
    roles = {role: cut(listing, options, len(roles) == 1) if isinstance(listing, Listing) else listing for role, listing in roles.items()}
    listings = {role: listing for role, listing in roles.items() if isinstance(listing, Listing)}
    first = next((listing for listing in listings.values() if listing.kind in ("pictures", "windows")), next(iter(listings.values()), None))
    arrays = as_values(name, {role: array for role, array in roles.items() if role not in listings}, options, splits)
    from_source = first is not None and (options.labels is None or isinstance(options.labels, str | Path))
    if first is None:
        if options.groups is not None:
            raise UserError("groups of arrays come with them", where=name, hint='give a dict: {"x": samples, "group": groups}')
        if options.columns:
            raise UserError("columns are for tables; these are arrays", where=name, hint="give a dict of role -> array")
        labels = None if labels is None else labeling.read(labels, class_names, options.how)
        counts = {role: len(value) + len(broken) for role, value in arrays.items()}
        counts |= {} if labels is None else {"label": len(labels)}
        same_length(name, counts | ({} if group is None else {"group": len(group)}))
    else:
        names, splits = first.names, first.splits()
        if options.groups is not None:
            group, more = groups_by(options.groups, first)
            group, notes = replace(group, ids=first.kept_together(group.ids)), [*notes, *more]
        elif group is None and not (from_source and str(options.labels) == "group"):  # a column of classes keeps no samples together
            group, notes = Labels(first.groups(), first.group_names()), [*notes, *first.group_notes()]
        if first.kind == "pictures" and (placed := [role for role, value in arrays.items() if modality_of(value).placed]):
            hint = "pictures from files are resized as they are decoded; give them as an array, so that what lies in them moves along"
            raise UserError(f"{placed[0]} cannot stand beside picture files", where=name, hint=hint)
    order = roles if listings else arrays
    parts = {role: part_of(listings[role], options) if role in listings else Part.of_array(arrays[role], broken) for role in order}
    total = next(iter(parts.values())).total
    if first is not None and from_source:
        by_pattern = labels_by_pattern(options.groups, first) if options.labels is None else None
        labels = by_pattern or first.labels(options.labels, options.how)
    elif options.labels is not None:
        labels = chosen_labels(options.labels, names or ("",) * total, name, how=options.how)
    labels = (Labels.none(total) if labels is None else labels).common(options.how.fewest)
    place = first.root if first is not None and isinstance(first.root, Path) else place
    labels, codes = with_names(labels, [] if place is None or place == Path() else [place, place.resolve().parent])
    if len(labels) != total:
        raise UserError(f"{len(labels)} labels for {total} samples", where=name, hint="give one for each sample, -1 for none")
    why = {row: reason if len(parts) == 1 else f"{role}: {reason}" for role, part in parts.items() for row, reason in part.broken}
    why |= without_content(parts) if options.unpaired else {}
    kept = np.array([row for row in range(total) if row not in why], np.int64)
    if not len(kept):
        what = f"none of the {total} samples can be used, the first because: {why[min(why)]}" if why else "no samples"
        raise UserError(what, where=name, hint="look whether the right data was given")
    if names is None and why:
        names = [f"#{row}" for row in range(total)]
    rows = torch.from_numpy(kept)
    usable = {role: part.at(kept) for role, part in parts.items()}
    if labels.present is not None and "tags" in usable:
        raise UserError("an input plays the role `tags`, which is that of labels", where=name, hint="give it another name with --columns")
    named = labels.at(rows)
    values = {role: part.value for role, part in usable.items()} | named.roles()
    batch = Batch.of(label=named.ids, group=None if group is None else group.ids[rows], **values)
    return DataSet.of(
        name,
        batch,
        splits=None if splits is None else split_rows([splits[row] for row in kept]),
        class_names=labels.class_names,
        tag_names=labels.tag_names,
        codes=codes,
        hashes=joint_hashes(usable) if listings else None,
        files=None if names is None else [names[row] for row in kept],
        broken=[Broken("" if names is None else names[row], why[row]) for row in sorted(why)],
        unused=unused,
        notes=tuple(dict.fromkeys([*notes, *notes_of(listings), *notes_of(parts), *scaled(arrays, options), *odd_names(usable), *labels.notes])),
        columns=columns,
        group_names=() if group is None else group.names,
        listing=first if first is not None and first.kind == "pictures" else None,
    )


def as_values(name: str, roles: Mapping[str, Any], options: Options, splits: Sequence[str | None] | None) -> dict[str, Value]:
    """Typed values at the size asked for, inputs before targets; what lies in pictures that are resized moves along."""
    train = None if splits is None else rows_to_train_on(split_rows(splits), len(splits))
    values: dict[str, Value] = {}
    geometry: Geometry | None = None
    for role, array in roles.items():
        value = at_rate(as_value(array, f"{name}, role {role}", options.reading, train, options.rate or options.recording.rate), options)
        values[role] = modality_of(value).resized(value, options.size, options.channels)
        geometry = geometry or modality_of(value).resizing(value, values[role])
    ordered = sorted(values.items(), key=lambda item: modality_of(item[1]).target)
    return {role: value if geometry is None else modality_of(value).moved(value, geometry) for role, value in ordered}


def at_rate(value: Value, options: Options) -> Value:
    """What lies over time at the rate that is asked for."""
    rate, own = options.recording.rate, getattr(value, "rate", None)
    if rate is None or own is None or rate == own:
        return value
    *channels, time = value.main.shape[1:]
    return modality_of(value).fitted(value, (*channels, resampled_length(time, own, rate)), rate)


def cut(listing: Listing, options: Options, alone: bool) -> Listing:
    """Recordings as the samples into which they are cut; other listings as they are. alone: whether a recording may be several samples."""
    if listing.kind not in ("sounds", "signals"):
        return listing
    store = stored_recordings(listing, options.recording, cache_dir=options.cache_dir, progress=options.progress)
    return Windows(listing, store, windows_of(store, options.recording, alone))


def same_length(name: str, counts: Mapping[str, int]) -> None:
    if len(set(counts.values())) > 1:
        raise UserError(f"lengths differ: {', '.join(f'{role} {count}' for role, count in counts.items())}", where=name)


def part_of(listing: Listing, options: Options) -> Part:
    """Pictures decoded or found in the cache; texts and numbers as they are."""
    if not listing.names:
        raise UserError("there are no samples in it", where=getattr(listing, "place", listing.root))
    if listing.kind == "pictures":
        form, notes = survey(listing.sample(), options.size, options.channels, options.reading, lambda most: to_train_on(listing, most))
        return replace(stored(listing, form, cache_dir=options.cache_dir, progress=options.progress), notes=tuple(notes))
    if isinstance(listing, Vectors):
        return listing.read[0]
    if isinstance(listing, Windows):
        return listing.part
    cells = listing.contents()
    if options.unpaired:
        cells = ["" if cell is None or (isinstance(cell, str) and not cell.strip()) else cell for cell in cells]
    faults = [listing.faults.get(row) or fault_of_text(cell, options.unpaired) for row, cell in enumerate(cells)]
    usable = [row for row, fault in enumerate(faults) if not fault]
    value = Text(Strings.of(cells[row] for row in usable))
    broken = [(row, fault) for row, fault in enumerate(faults) if fault]
    return Part(value, np.array(usable, np.int64), broken, content_hashes({"x": value}))


def scaled(values: Mapping[str, Value], options: Options) -> list[str]:
    """Notes about pictures in memory whose range was chosen for the user."""
    edges = [getattr(value, "reading", {}).get("range") for value in values.values()]
    return [] if options.reading.range else [range_note(*edge) for edge in edges if edge]


def notes_of(parts: Mapping[str, Listing] | Mapping[str, Part]) -> list[str]:
    return [note for part in parts.values() for note in part.notes]


def odd_names(parts: Mapping[str, Part]) -> list[str]:
    """Notes about roles that are called like samples of another kind than those that they hold."""
    expected = {name: modality for modality in MODALITIES.values() for name in modality.role_names}
    found = {role: modality_of(part.value) for role, part in parts.items() if role in expected}
    hint = "does --columns name the right columns?"
    return [
        f"the input {role} holds {modality.plural}, not {expected[role].plural}: {hint}"
        for role, modality in found.items()
        if modality is not expected[role]
    ]


def to_train_on(listing: Listing, most: int) -> list[Source]:
    """About so many pictures to train on, evenly spaced."""
    rows = rows_to_train_on(split_rows(listing.splits()), len(listing.names))
    return list(listing.sample(most)) if len(rows) == len(listing.names) else listing.sources(rows[evenly_spaced(len(rows), most)].tolist())


def fault_of_text(cell: Any, absent: bool = False) -> str:
    """Why a cell is no text; empty where it is one. absent: whether there may be none."""
    if not isinstance(cell, str):
        return "no text"
    return "empty" if not (absent or cell.strip()) else "" if encodes(cell) else "not UTF-8"


def without_content(parts: Mapping[str, Part]) -> dict[int, str]:
    """The rows that are empty in every role, and why they cannot be used, where single texts may be absent."""
    empty = [set(part.kept[[not text for text in part.value.texts]].tolist()) if as_written(part.value) else set() for part in parts.values()]
    return dict.fromkeys(set.intersection(*empty), f"empty in {' and '.join(parts)}")


def joint_hashes(parts: Mapping[str, Part]) -> Tensor:
    """One hash per sample from those of its roles."""
    hashes = [content_hashes({role: part.value}) if part.hashes is None else part.hashes for role, part in parts.items()]
    if len(hashes) == 1:
        return hashes[0]
    return torch.tensor([content_hash(row.tobytes()) for row in torch.stack(hashes, 1).numpy()])
