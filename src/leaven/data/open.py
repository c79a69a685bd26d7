"""`open_data`: whatever the user has -> a DataSet."""

from __future__ import annotations

import dataclasses
import glob
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from leaven.data import labels as labeling
from leaven.data.batch import Batch, content_hashes
from leaven.data.cache import Progress, stored
from leaven.data.dataset import Broken, DataSet, stacked
from leaven.data.labels import Labels
from leaven.data.sources import arrays, folders, named, samples
from leaven.data.sources.columns import Columns
from leaven.data.sources.folders import FileList, Folder
from leaven.data.sources.huggingface import HuggingFace, is_from_the_library
from leaven.data.sources.lines import DOCUMENTS, LINES, Documents, Lines, as_numbers, as_text, read_delimited
from leaven.data.sources.listing import Contents, Listing, Pictures
from leaven.data.sources.tables import Table
from leaven.data.splits import split_of, split_rows
from leaven.errors import UserError
from leaven.modalities import Pixels, Strings, Text, Value, Vector, modality_of
from leaven.modalities.content import content_hash
from leaven.modalities.counts import is_sparse
from leaven.modalities.picture_files import survey

TABLES = (".parquet", ".pq")
ARRAYS = (".npy", ".npz")


@dataclasses.dataclass(frozen=True)
class Options:
    """What the caller asked for; see `open_data`."""

    size: int | None = None
    channels: int | None = None
    labels: Any = None
    columns: Mapping[str, str] | None = None
    cache_dir: str | Path | None = None
    progress: Progress | None = None


def open_data(
    source: Any,
    *,
    root: str | Path | None = None,
    size: int | None = None,
    channels: int | None = None,
    labels: Any = None,
    columns: Mapping[str, str] | None = None,
    cache_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> DataSet:
    """Open what the user has.

    source: a folder of pictures (nested; one subfolder a class; train / val / test subfolders), a glob or single picture; a csv file that lists
        them (file, and where there are, label, split, group); a folder or glob of text documents, laid out alike; a .txt file with a text a line;
        parquet, .csv, .tsv or .jsonl files with a column of pictures or text; a folder of MNIST-like idx files; .npy or .npz; a data set's name
        (`cifar10`, `demo:digits`, `hf:owner/name`); arrays, tensors or sparse matrices (which are counts; .npz files of `scipy.sparse.save_npz` as
        well): x, (x, y), or a dict of roles (beside them `label` and `group`); a list of texts, paths or PIL pictures; a torch or Hugging Face data
        set; a Value, Batch or DataSet.
    root: where named data sets lie (default: LEAVEN_DATA). Nothing is fetched or written there.
    size: the training side in pixels; pictures are stored up to 15 % larger, and never enlarged. Default: native up to 64, else 96.
    channels: 1 or 3. Default: 1 when none of up to 512 evenly spaced pictures has colour, else 3.
    labels: None (found where it is plain), "folder", a csv file (file,label), a table's column, or N classes.
    columns: role -> column of a table; "first+second" takes the samples of both. Default: x is the first column of pictures, else that of texts;
        two columns of sentences are a and b.
    cache_dir: where decoded pictures are kept (default: LEAVEN_CACHE, else ~/.cache/leaven), up to LEAVEN_CACHE_LIMIT (20GB) in all; those of a
        larger data set are decoded when they are selected. progress(done, total) is called while decoding.

    Broken pictures, empty texts, and samples without any count, are set aside in `.broken`. Raises UserError when the source is not there, holds
    nothing usable, or an option does not fit.
    """
    if channels not in (None, 1, 3):
        raise UserError(f"channels must be 1 or 3, not {channels}")
    if size is not None and size < 1:
        raise UserError(f"size must be at least 1 pixel, not {size}")
    options = Options(size, channels, labels, columns, cache_dir, progress)
    if isinstance(source, DataSet):
        return source if labels is None else source.with_labels(labels)
    if isinstance(source, str | os.PathLike):
        return _named_or_path(os.fspath(source), root, options)
    return _in_memory(source, options)


def _named_or_path(text: str, root: str | Path | None, options: Options) -> DataSet:
    if text.startswith("demo:"):
        x, y, splits = named.demo(text.removeprefix("demo:"))
        return _arrays(text, {"x": x}, labeling.number(y), options, splits=splits)
    if text.startswith("hf:"):
        return _columns(HuggingFace.load(text.removeprefix("hf:")), options)
    path = Path(text).expanduser()
    if path.exists():
        return _path(path, options)
    if glob.has_magic(text):
        return _files(*folders.expand(str(path)), path.name, options)
    if len(path.parts) != 1 or path.suffix.lower() in (*TABLES, *ARRAYS, *LINES, *DOCUMENTS, *folders.extensions()):
        raise UserError("no such file or folder", where=path)
    place = named.data_root(root)
    folder = named.find_folder(text, place)
    if folder is not None and (arrays.find_idx(folder) or _usable(folders.walk(folder))):
        return _path(folder, options)
    if place is not None and (found := named.from_torchvision(text, [place, *([folder] if folder else [])])):
        x, y, splits, names = found
        return _arrays(text, {"x": x}, labeling.number(y, names), options, splits=splits)
    if folder is not None:
        return _path(folder, options)
    raise named.not_found(text, place)


def _path(path: Path, options: Options) -> DataSet:
    name = path.resolve().name
    if not path.is_dir():
        if path.suffix.lower() == ".csv" and _lists_files(path, options):
            return _listed(path, name, options)
        return _files(path.parent, [path.name], name, options)
    if HuggingFace.saved_in(path):
        return _columns(HuggingFace.from_disk(path), options)
    if idx := arrays.find_idx(path):
        name = idx.resolve().parent.name if idx.name == "raw" else name
        x, y, splits, origins = arrays.read_idx(idx)
        names = arrays.FASHION if named.plain(name) == "fashionmnist" and y.max() == len(arrays.FASHION) - 1 else ()
        return _arrays(name, {"x": x}, labeling.number(y, names), options, splits=splits, files=origins)
    return _files(path, folders.walk(path), name, options)


def _usable(names: list[str]) -> bool:
    return bool(folders.pictures(names)) or any(name.lower().endswith((*TABLES, *ARRAYS, *LINES, *DOCUMENTS)) for name in names)


def _lists_files(path: Path, options: Options) -> bool:
    """Whether a csv file names pictures, and does not hold the samples."""
    column = (options.columns or {}).get("x")
    files = read_delimited(path).get(column or "file")
    return files is not None and (column is None or bool(folders.pictures(files)))


def _files(root: Path, names: list[str], name: str, options: Options) -> DataSet:
    """Pictures, tables, texts or an array file, whichever these files are; where pictures and tables lie together, the more numerous."""
    pictures = folders.pictures(names)
    tables = tuple(file for file in names if file.lower().endswith(TABLES))
    array_files = [file for file in names if file.lower().endswith(ARRAYS)]
    documents = tuple(file for file in names if file.lower().endswith(DOCUMENTS))
    lines = [[file for file in names if file.lower().endswith(ending)] for ending in LINES]
    if len(pictures) > len(tables):
        if options.columns:
            raise UserError("columns are for tables; these are picture files", where=root, hint=f"found {folders.kinds(names)}")
        return _stored(name, {"x": Folder(root, pictures)}, options)
    if tables:
        return _table(name, Table(root, tables), options)
    if len(array_files) == 1:
        x, y, splits = arrays.joined(arrays.read_arrays(root / array_files[0]))
        return _arrays(name, {"x": x}, None if y is None else labeling.number(y), options, splits=splits)
    if array_files:
        raise UserError(
            f"there are {len(array_files)} array files here, and one can be opened at a time",
            where=root,
            hint=f"give one of them, such as {root / array_files[0]}",
        )
    if found := max(lines, key=len):
        return _table(name, Lines.read(root, found), options)
    if documents and (len(documents) == 1 or all(split_of(file) for file in documents)):
        return _table(name, Lines.read(root, documents), options)
    if documents:
        return _stored(name, {"x": Documents(root, documents)}, options)
    hint = f"found {folders.kinds(names)}; pictures, .parquet, .csv, .tsv, .jsonl, .txt, .npy, .npz and MNIST-like idx files can be read"
    raise UserError("no pictures, tables or texts here", where=root, hint=hint)


def _listed(path: Path, name: str, options: Options) -> DataSet:
    if unknown := set(options.columns or {}) - {"x"}:
        raise UserError(f"a csv file of pictures has the role x, not {', '.join(sorted(unknown))}", where=path)
    return _stored(name, {"x": FileList.read(path, (options.columns or {}).get("x"))}, options)


def _columns(data: HuggingFace, options: Options) -> DataSet:
    return _table(str(data.root), data, options)


def _table(name: str, table: Columns, options: Options) -> DataSet:
    """The samples of a table; those of several columns one after another, where one role asks for "first+second"."""
    asked = options.columns or {}
    several = [column for column in asked.values() if "+" in column and column not in table.column_names()]
    if not several:
        return _stored(name, table.roles(asked), options)
    if len(asked) > 1:
        raise UserError(f"{several[0]!r} can play a role only by itself", where=name)
    ((role, columns),) = asked.items()
    return stacked(name, {column: _stored(name, table.roles({role: column}), options) for column in columns.split("+")})


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """What plays one role: the samples that can be used, their hashes and rows, and why the other rows cannot."""

    value: Value
    hashes: torch.Tensor
    kept: np.ndarray
    broken: Sequence[tuple[int, str]]


def _part(listing: Listing, options: Options) -> Part:
    """Pictures decoded or found in the cache; texts and numbers as they are."""
    if not listing.names:
        raise UserError("there are no samples in it", where=listing.place if isinstance(listing, Columns) else listing.root)
    if listing.kind == "pictures":
        listing = cast(Pictures, listing)
        seen = survey(listing.sample())
        channels = options.channels or (1 if seen.grey else 3)
        found = stored(listing, seen.side(options.size), channels, cache_dir=options.cache_dir, progress=options.progress)
        return Part(Pixels(cast(torch.Tensor, found.pixels)), found.hashes, found.kept, found.broken)
    contents = cast(Contents, listing).contents()
    if listing.kind == "text":
        texts, broken = as_text(contents)
        value: Value = Text(Strings.of(texts.values()))
        return Part(value, content_hashes({"x": value}), np.array(list(texts), np.int64), broken)
    numbers, broken = as_numbers(contents)
    value = Vector(torch.tensor(list(numbers.values()), dtype=torch.float32)[:, None])
    return Part(value, content_hashes({"x": value}), np.array(list(numbers), np.int64), broken)


def _stored(name: str, listings: Mapping[str, Listing], options: Options) -> DataSet:
    """One listing a role; rows that are broken in any role are set aside."""
    parts = {role: _part(listing, options) for role, listing in listings.items()}
    listing = next(iter(listings.values()))
    why = {row: reason for part in parts.values() for row, reason in part.broken}
    splits = listing.splits()
    kept = np.array([row for row in range(len(listing.names)) if row not in why], np.int64)
    if not len(kept):
        first = min(why)
        raise UserError(f"none of the {len(listing.names)} samples can be used, the first because: {why[first]}", where=name)
    roles: dict[str, Value] = {}
    hashes = []
    for role, part in parts.items():
        place = torch.from_numpy(np.searchsorted(part.kept, kept))
        roles[role] = part.value if len(part.kept) == len(kept) else part.value.take(place)
        hashes.append(part.hashes[place])
    together = hashes[0] if len(hashes) == 1 else torch.tensor([content_hash(row.tobytes()) for row in torch.stack(hashes, 1).numpy()])
    given = options.labels is None or isinstance(options.labels, str | Path)
    labels = listing.labels(options.labels) if given else labeling.number(options.labels)
    if len(labels.ids) != len(listing.names):
        what = f"{len(labels.ids)} labels for {len(listing.names)} samples"
        raise UserError(what, where=name, hint="give one for each sample, -1 for none")
    rows = torch.from_numpy(kept)
    return DataSet.of(
        name,
        Batch(roles, labels.ids[rows], torch.arange(len(kept)), listing.groups()[rows]),
        splits=split_rows([splits[row] for row in kept]),
        class_names=labels.names,
        hashes=together,
        files=[listing.names[row] for row in kept],
        broken=[Broken(listing.names[row], why[row]) for row in sorted(why)],
        listing=cast(Pictures, listing) if listing.kind == "pictures" else None,
    )


def _in_memory(source: Any, options: Options) -> DataSet:
    if is_from_the_library(source):
        return _columns(HuggingFace.of(type(source).__name__, source), options)
    if isinstance(source, Batch):
        source = {**source.roles, "label": source.label, "group": source.group}
    if isinstance(source, tuple) and len(source) == 2:
        source = {"x": source[0], "label": source[1]}
    if not isinstance(source, Mapping):
        known = isinstance(source, Value | torch.Tensor | np.ndarray | list | tuple) or is_sparse(source)
        if not known and not (hasattr(source, "__getitem__") and hasattr(source, "__len__")):
            streamed = isinstance(source, torch.utils.data.IterableDataset) or hasattr(source, "__iter__")
            what = f"a {type(source).__name__} can only be read in order" if streamed else f"a {type(source).__name__} cannot be opened"
            raise UserError(what, hint="give a path, a name, an array, (x, y), a dict of roles, or a data set with [row] and len()")
        source = {"x": source}
    roles = {role: value for role, value in source.items() if role not in ("label", "group")}
    if not roles:
        raise UserError("no samples: a dict of arrays needs a role, such as x", hint=f"its keys are {', '.join(map(str, source))}")
    given = source.get("label")
    group = None if source.get("group") is None else labeling.number(source["group"]).ids
    objects = {role: value for role, value in roles.items() if not (isinstance(value, Value | torch.Tensor | np.ndarray) or is_sparse(value))}
    if any(_are_texts(value) for value in objects.values()):
        columns = {role: list(value) for role, value in roles.items()} | ({} if group is None else {"group": group.tolist()})
        counts = {role: len(column) for role, column in columns.items()}
        if len(set(counts.values())) > 1:
            raise UserError(f"lengths differ: {', '.join(f'{role} {count}' for role, count in counts.items())}", where="texts")
        table = Lines(Path("texts"), ("",), columns, (next(iter(counts.values())),))
        return _stored("texts", table.roles({role: role for role in roles}), options if given is None else dataclasses.replace(options, labels=given))
    if objects and len(roles) == 1:
        ((role, value),) = objects.items()
        if isinstance(value, list | tuple) and value and all(isinstance(item, str | os.PathLike) for item in value):
            listing = Folder(Path(), tuple(os.fspath(item) for item in value))
            return _stored("files", {role: listing}, options if given is None else dataclasses.replace(options, labels=given))
        if not isinstance(value, list | tuple) or (value and not isinstance(value[0], int | float | list | tuple)):
            return _samples(role, value, given, group, options)
    return _arrays("arrays", roles, None if given is None else labeling.number(given), options, group=group)


def _are_texts(value: Any) -> bool:
    """Whether it is a list of texts, and not of paths of pictures."""
    if not isinstance(value, list | tuple) or not value or not all(isinstance(item, str) for item in value):
        return False
    return len(folders.pictures(list(value))) < len(value)


def _samples(role: str, found: Any, given: Any, group: torch.Tensor | None, options: Options) -> DataSet:
    x, labels, kept, broken = samples.read_samples(found, options.size, options.channels, options.progress)
    numbered = labeling.number(labels if given is None else given, getattr(found, "classes", ()) if given is None else ())
    rows = torch.from_numpy(kept)
    name = type(found).__name__
    if len(numbered.ids) != len(found) and given is not None:
        raise UserError(f"{len(numbered.ids)} labels for {len(found)} samples", where=name)
    own = Labels(numbered.ids if given is None else numbered.ids[rows], numbered.names)
    data = _arrays(name, {role: x}, own, options, group=None if group is None else group[rows], files=[f"#{row}" for row in kept])
    return dataclasses.replace(data, broken=tuple(Broken(f"#{row}", why) for row, why in broken))


def _arrays(
    name: str,
    roles: Mapping[str, Any],
    labels: Labels | None,
    options: Options,
    *,
    group: torch.Tensor | None = None,
    splits: list[str] | None = None,
    files: list[str] | None = None,
) -> DataSet:
    if options.columns:
        raise UserError("columns are for tables; these are arrays", where=name, hint="give a dict of role -> array")
    values = {role: arrays.as_value(value, f"{name}, role {role}") for role, value in roles.items()}
    values = {role: modality_of(value).resized(value, options.size, options.channels) for role, value in values.items()}
    counts = {role: len(value) for role, value in values.items()}
    if labels is not None:
        counts["label"] = len(labels.ids)
    if group is not None:
        counts["group"] = len(group)
    if len(set(counts.values())) > 1:
        raise UserError(f"lengths differ: {', '.join(f'{role} {count}' for role, count in counts.items())}", where=name)
    count = len(next(iter(values.values())))
    labels = labels or Labels.none(count)
    rows = Batch(values, labels.ids, torch.arange(count), Labels.none(count).ids if group is None else group)
    data = DataSet.of(name, rows, splits=None if splits is None else split_rows(splits), class_names=labels.names, files=files)
    data = data if options.labels is None else data.with_labels(options.labels)
    return _without_empty(data)


def _without_empty(data: DataSet) -> DataSet:
    """The data set without samples that say nothing in some role."""
    rows = data.rows
    found = [none for value in rows.roles.values() if (none := modality_of(value).empty(value)) is not None]
    if not found:
        return data
    empty, why = torch.stack([none for none, _ in found]).any(0), found[0][1]
    if empty.all():
        raise UserError(f"all samples are left out: {why}", where=data.name, hint="look whether the right data was given")
    if not empty.any():
        return data
    names = [file or f"#{row}" for row, file in enumerate(data.files)]
    broken = [Broken(names[row], why) for row in empty.nonzero().flatten().tolist()]
    kept = (~empty).nonzero().flatten()
    place = torch.where(empty, -1, (~empty).cumsum(0) - 1)
    return DataSet.of(
        data.name,
        Batch({role: value.take(kept) for role, value in rows.roles.items()}, *(each[kept] for each in (rows.label, rows.index, rows.group))),
        splits={split: found[found >= 0] for split, part in data.splits.items() for found in [place[part]]},
        class_names=data.spec.class_names,
        hashes=data.hashes[kept],
        files=[names[row] for row in kept.tolist()],
        broken=[*data.broken, *broken],
    )
