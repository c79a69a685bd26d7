"""`open_data`: whatever the user has -> a DataSet."""

import dataclasses
import glob
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from leaven.data import labels as labeling
from leaven.data.assemble import Options, assemble, same_length
from leaven.data.batch import Batch
from leaven.data.cache import Progress
from leaven.data.dataset import DataSet, stacked
from leaven.data.labels import LabelReading, Labels
from leaven.data.sources import arrays, folders, named, samples
from leaven.data.sources.columns import ABOUT, ALL_NUMBERS, CLASS_VALUES, Columns
from leaven.data.sources.described import recordings
from leaven.data.sources.folders import Folder
from leaven.data.sources.huggingface import HuggingFace, is_from_the_library
from leaven.data.sources.kinds import ARRAYS, SOUNDS, TABLES, Kinds
from leaven.data.sources.lines import Documents, Lines, table_of
from leaven.data.sources.recordings import Recordings
from leaven.data.sources.sequences import sequences
from leaven.data.sources.text_files import DOCUMENTS, LINES
from leaven.errors import UserError
from leaven.hyperparameters import Count, Positive, Side, convert
from leaven.modalities import Tags, Value
from leaven.modalities.counts import is_sparse
from leaven.modalities.decoding import Reading
from leaven.modalities.recording_files import RecordingReading
from leaven.modalities.sound_files import is_sound_file

OVER_TIME = {field.name for field in dataclasses.fields(RecordingReading)}


def open_data(
    source: Any,
    *,
    root: str | Path | None = None,
    size: int | None = None,
    channels: int | None = None,
    labels: Any = None,
    columns: Mapping[str, str] | None = None,
    groups: str | None = None,
    reading: Mapping[str, Any] | None = None,
    cache_dir: str | Path | None = None,
    progress: Progress | None = None,
    unpaired: bool = False,
) -> DataSet:
    """Open what the user has.

    source: a folder of pictures (nested; one subfolder per class; train / val / test subfolders), a glob or single picture; a folder or glob of text
        documents, sounds or recordings (.edf and others, .csv with a column of times, .npz with a rate), laid out alike, perhaps with a table that
        says more of each file; a .txt file with one text per line; parquet, .csv, .tsv or .jsonl files with columns of pictures or sounds (bytes, or
        names of files beside the table), text or numbers, and where there are, label, split and group; a folder of MNIST-like idx files; .npy or
        .npz; a data set's name (`cifar10`, `demo:digits`, `hf:owner/name`); arrays, tensors or sparse matrices (which are counts; .npz files of
        `scipy.sparse.save_npz` as well): x, (x, y), or a dict of roles (beside them `label`, `group`, and the `rate` of what lies over time; `Boxes`
        and `Mask` are targets); a list of texts, paths or PIL pictures; a structured array or a data frame; a torch or Hugging Face data set; a
        Value, Batch or DataSet.
    root: where named data sets lie (default: LEAVEN_DATA). Nothing is fetched or written there.
    size: the training side in pixels; pictures are stored up to 15 % larger, and never enlarged. Default: native up to 64, else 96.
    channels: of pictures. Default: 1 when none of up to 512 evenly spaced pictures has colour, else 3; or as many as most of them have.
    labels: None (those that the source plainly has), "folder" ("innermost", "outermost"), a csv file (file,label), a table's column, "first:second"
        for several columns of 0 and 1, N classes, N lists of tags, or (N, tags) of 0 and 1.
    columns: role -> column of a table; "first+second" takes the samples of both, "first:second" puts columns of numbers and categories side by side,
        and "numbers" all of them. Default: x is the first column of pictures, else that of sentences, else "numbers"; columns that have the names of
        pairs are a and b (with a score or a label), or anchor and positive.
    groups: what belongs together, on one side of every split: a column, `folder` (`innermost`, `outermost`), `recording`, `subject` or `session`
        where headers say it, several joined by `+`; or a pattern of file names, such as `{label}_{speaker}_{take}.wav`, whose `label` gives labels as
        well. Default: a column called group; of recordings also one called subject, speaker, session or alike, and what is cut from one recording.
    reading: how files are read: of pictures `pages` (first, middle, all, channels), `background` (white, black, grey) and `range` (low, high), see
        `Reading`; of sound and signals `rate`, `window`, `hop` and more, see `RecordingReading`; of columns of numbers `table`, which is how an
        encoder's were read; of labels `labels` (classes, tags) and `fewest` (samples that a tag needs), see `LabelReading`. Default: chosen from the
        data, and said in its notes. `split` (random, contiguous): how a test part is held out where the data has none; default: in contiguous parts
        where samples follow each other.
    cache_dir: where decoded pictures and recordings are kept (default: LEAVEN_CACHE, else ~/.cache/leaven), up to LEAVEN_CACHE_LIMIT (20GB) in all;
        those of a larger data set are decoded when they are selected. progress(done, total) is called while decoding.
    unpaired: whether samples that lack a text in one role, but not in another, are kept; the absent text is then empty.

    Broken pictures, empty texts, and samples without any count, are set aside in `.broken`. Raises UserError when the source is not there, holds
    nothing usable, or an option does not fit.
    """
    reading = dict(reading or {})
    table, split = reading.pop("table", None), convert(reading.pop("split", "auto"), Literal["auto", "random", "contiguous"], "split")
    over_time = {name: reading.pop(name) for name in sorted(OVER_TIME & reading.keys())}
    how = LabelReading.of(reading)
    reading = {name: value for name, value in reading.items() if name not in vars(how)}
    size, channels = convert(size, Side | None, "size"), convert(channels, Count | None, "channels")
    recording = RecordingReading.of(over_time)
    options = Options(size, channels, labels, columns, Reading.of(reading), recording, None, table, groups, cache_dir, progress, how, unpaired)
    if isinstance(source, DataSet):
        opened = source if labels is None else source.with_labels(labels)
    elif isinstance(source, str | os.PathLike):
        opened = _named_or_path(os.fspath(source), root, options)
    else:
        opened = _in_memory(source, options)
    return opened if split == "auto" else dataclasses.replace(opened, split=split)


def _named_or_path(text: str, root: str | Path | None, options: Options) -> DataSet:
    if text.startswith("demo:"):
        roles, y, splits = named.demo(text.removeprefix("demo:"))
        return assemble(text, roles, options, labels=y, splits=splits)
    if text.startswith("hf:"):
        data = HuggingFace.load(text.removeprefix("hf:"))
        return _table(data.root, data, options)
    if not text:
        raise UserError("the name of the data is empty", hint="give a folder, a file, or the name of a data set")
    path = Path(text).expanduser()
    if path.exists():
        return _path(path, options)
    if glob.has_magic(text):
        return _files(*folders.expand(str(path)), path.name, options)
    if len(path.parts) != 1 or path.suffix.lower() in (*TABLES, *ARRAYS, *LINES, *DOCUMENTS, *SOUNDS, *folders.extensions()):
        raise UserError("no such file or folder", where=path)
    place = named.data_root(root)
    folder = named.find_folder(text, place)
    if folder is not None and (arrays.find_idx(folder) or Kinds.of(folder, folders.walk(folder).files).usable):
        return _path(folder, options)
    if place is not None and (known := named.from_torchvision(text, [place, *([folder] if folder else [])])):
        x, y, splits, names = known
        return assemble(text, {"x": x}, options, labels=y, class_names=names, splits=splits)
    if folder is not None:
        return _path(folder, options)
    raise named.not_found(text, place)


def _path(path: Path, options: Options) -> DataSet:
    name = path.resolve().name
    if not path.is_dir():
        if not path.is_file():
            raise UserError("this is neither a file nor a folder, but a pipe, a socket or a device", where=path)
        return _files(path.parent, [path.name], name, options)
    if HuggingFace.saved_in(path):
        data = HuggingFace.from_disk(path)
        return _table(data.root, data, options)
    if idx := arrays.find_idx(path):
        name = idx.resolve().parent.name if idx.name == "raw" else name
        x, y, splits, origins = arrays.read_idx(idx)
        names = arrays.FASHION if named.plain(name) == "fashionmnist" and y.max() == len(arrays.FASHION) - 1 else ()
        return assemble(name, {"x": x}, options, labels=y, class_names=names, splits=splits, names=origins, place=path)
    found = folders.walk(path)
    return _files(path, found.files, name, options, found.unused())


def _files(root: Path, names: list[str], name: str, options: Options, passed_over: Sequence[str] = ()) -> DataSet:
    """Sounds, signals, pictures, tables, texts or an array file, whichever these files are; where kinds lie together, the more numerous."""
    files = Kinds.of(root, names, passed_over)
    if options.recording.frames:
        if not files.pictures:
            raise UserError("there are no pictures here that could be frames", where=root, hint="leave --set frames out")
        tables = [file for some in files.lines for file in some]
        runs, used = sequences(root, files.pictures, tables, options.recording.side)
        rate = options.recording.rate or 1.0
        options = dataclasses.replace(options, recording=dataclasses.replace(options.recording, rate=rate))
        return assemble(name, {"x": runs}, options, unused=files.unused(used))
    if files.are_sounds:
        tables = [file for some in files.lines for file in some]
        listing, used = recordings(root, files.sounds, "sounds", tables)
        return assemble(name, {"x": listing}, options, unused=files.unused(used))
    signals, layout = files.signals(root, options.recording.layout, options.recording.rate is not None, bool(options.columns))
    if signals:
        tables = [file for some in files.lines for file in some if file not in signals]
        listing, used = recordings(root, signals, "signals", tables, layout)
        return assemble(name, {"x": listing}, options, unused=files.unused(used))
    pictures = files.pictures or files.pictures_in_arrays(root)
    if len(pictures) > len(files.tables):
        if options.columns:
            raise UserError("columns are for tables; these are picture files", where=root, hint=f"the folder holds {folders.kinds(names)}")
        every = options.reading.pages == "all"
        folder = Folder.of_pages(root, pictures) if every else Folder(root, pictures)
        return assemble(name, {"x": folder}, options, unused=files.unused(pictures))
    if files.arrays and not files.tables:
        first = root / files.arrays[0]
        if len(files.arrays) > 1:
            what = f"there are {len(files.arrays)} array files here, and one can be opened at a time"
            raise UserError(what, where=root, hint=f"give one of them, such as {first}")
        read = arrays.read_arrays(first)
        if (rows := table_of(read.x)) is not None:
            return _table(name, rows, options if read.y is None else dataclasses.replace(options, labels=read.y))
        unused = [f"the arrays {folders.listed(read.left_out)}"] if read.left_out else []
        group = None if read.groups is None else labeling.number(read.groups)
        known = {"labels": read.y, "splits": read.splits, "group": group, "place": root}
        return assemble(name, {"x": read.x}, options, **known, unused=unused + files.unused(files.arrays))
    if table := files.table(root):
        return _table(name, table, options, files)
    if files.documents:
        return assemble(name, {"x": Documents(root, files.documents)}, options, unused=files.unused(files.documents))
    raise files.nothing_usable(root)


def _table(name: str, table: Columns, options: Options, files: Kinds | None = None, group: Any = None) -> DataSet:
    """The samples of a table; those of several columns one after another, where one role asks for "first+second"."""
    wanted, there = options.columns or {}, table.column_names()
    label = table.named_labels(options.labels) if isinstance(options.labels, str) else ()
    several = [column for column in wanted.values() if "+" in column and column not in there]
    known = [entry["column"] for entry in options.table or ()]
    chosen = {role: tuple(known) if known and column == ALL_NUMBERS else table.parts_of(column, label) for role, column in wanted.items()}
    if not wanted:
        chosen = {"x": tuple(known)} if known else table.usual_roles(label)
    labels = label or tuple(filter(None, [table.label_column()]))
    parts = [part for column in chosen.values() for part in (column if isinstance(column, tuple) else (column, *column.split("+")))]
    unused = [*table.unused([*parts, *(labels or ["label"]), "split", "group"]), *(files.unused(table.files) if files else [])]
    groups = None if group is None else labeling.number(group)
    if several:
        if len(wanted) > 1:
            raise UserError(f"{several[0]!r} can play a role only by itself", where=name)
        ((role, columns),) = wanted.items()
        columns_of = {column: {role: table.listing(column, options.table)} for column in columns.split("+")}
        return stacked(name, {column: assemble(name, listings, options, group=groups, unused=unused) for column, listings in columns_of.items()})
    if known and not wanted and (missing := [column for column in known if column not in there]):
        what = f"the table lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}, which this encoder reads"
        hint = f"the columns are {', '.join(there)}; name others in order, with --columns x=first:second"
        raise UserError(what, where=table.place, hint=hint)
    notes = [] if wanted or known else table.choices(chosen, label)
    if both := [column for column in labels if column in parts]:
        notes.append(f"the column {both[0]} holds the labels and is an input as well: a score by these labels says nothing")
    listings = {role: table.listing(column, options.table) for role, column in chosen.items()}
    return assemble(name, listings, options, group=groups, unused=unused, notes=notes, columns=there)


def label_columns(path: Path, used: Collection[str] = ()) -> list[str]:
    """What --labels may name in a table: columns whose values are few and come again, columns of lists of tags, and, as "first:second", several
    columns of 0 and 1; none where this is no table.

    used: columns that hold the samples.
    """
    root, names = (path.parent, [path.name]) if path.is_file() else (path, folders.walk(path).files if path.is_dir() else [])
    table = Kinds.of(root, names).table(root)
    if table is None:
        return []
    roles = [table.parts_of(column) for column in used] or table.usual_roles().values()
    used = {*ABOUT, *(part for column in roles for part in ([column] if isinstance(column, str) else column))}
    columns = [column for column in table.column_names() if column not in used and table.holds_classes(column)]
    values = {column: [str(value) for value in table.values(column)[:CLASS_VALUES]] for column in columns}
    classes = [column for column, cells in values.items() if 1 < len(set(cells)) <= len(cells) / 4]
    tags = [column for column in columns if column not in classes and table.holds_tags(column)]
    together = table.tag_columns(used)
    return [*([":".join(together)] if together else []), *tags, *(column for column in classes if column not in together)]


def _in_memory(source: Any, options: Options) -> DataSet:
    if is_from_the_library(source):
        data = HuggingFace.of(type(source).__name__, source)
        return _table(data.root, data, options)
    if isinstance(source, Batch):
        source = {**source.roles, "label": source.label, "group": source.group}
    if isinstance(source, tuple) and len(source) == 2:
        source = {"x": source[0], "label": source[1]}
    if not isinstance(source, Mapping):
        if not is_sparse(source) and table_of(source) is None and not (hasattr(source, "__getitem__") and hasattr(source, "__len__")):
            streamed = isinstance(source, torch.utils.data.IterableDataset) or hasattr(source, "__iter__")
            what = f"a {type(source).__name__} can only be read in order" if streamed else f"a {type(source).__name__} cannot be opened"
            raise UserError(what, hint="give a path, a name, an array, (x, y), a dict of roles, or a data set with [row] and len()")
        source = {"x": source}
    if isinstance(tags := source.get("tags"), Tags):
        source = {**{role: value for role, value in source.items() if role != "tags"}, "label": tags}
    if "rate" in source:
        options = dataclasses.replace(options, rate=convert(source["rate"], Positive, "rate"))
    roles = {role: value for role, value in source.items() if role not in ("label", "group", "rate")}
    if len(roles) == 1 and (table := table_of(next(iter(roles.values())))) is not None:
        labels = source.get("label")
        return _table("table", table, options if labels is None else dataclasses.replace(options, labels=labels), group=source.get("group"))
    if not roles:
        raise UserError("no samples: a dict of arrays needs a role, such as x", hint=f"its keys are {', '.join(map(str, source))}")
    return _roles(roles, source.get("label"), source.get("group"), options)


def _roles(roles: Mapping[str, Any], label: Any, group: Any, options: Options) -> DataSet:
    """Lists of texts, numbers or picture files, arrays, or one data set of objects, by the role that each plays."""
    groups = None if group is None else labeling.number(group)
    texts = any(_are_texts(value) for value in roles.values())
    columns = {role: value for role, value in roles.items() if _are_texts(value) or (texts and _is_column(value))}
    files = {role: value for role, value in roles.items() if role not in columns and _is_list_of(value, str, os.PathLike)}
    if columns or files:
        name = "texts" if columns else "files"
        counts = {role: value.shape[0] if is_sparse(value) else len(value) for role, value in roles.items()}
        same_length(name, counts if groups is None else {**counts, "group": len(groups)})
        cells = {role: value.tolist() if hasattr(value, "tolist") else list(value) for role, value in columns.items()}
        table = Lines("texts", ("",), cells, tuple(map(len, cells.values()))[:1])
        listings = {role: table.listing(role) for role in columns} | {role: _listed(files[role]) for role in files}
        options = options if label is None else dataclasses.replace(options, labels=label)
        return assemble(name, {**roles, **listings}, options, group=groups)
    if len(roles) == 1:
        ((role, value),) = roles.items()
        if not _is_array(value) and not (isinstance(value, list | tuple) and (not value or isinstance(value[0], int | float | list | tuple))):
            return _samples(role, value, label, groups, options)
    return assemble("arrays", roles, options, labels=label, group=groups)


def _listed(files: Sequence[Any]) -> Folder:
    """Files that a list names."""
    names = tuple(map(os.fspath, files))
    return Recordings(Path(), names) if _are_sounds(names) else Folder(Path(), names)


def _is_array(value: Any) -> bool:
    return isinstance(value, Value | torch.Tensor | np.ndarray) or is_sparse(value)


def _is_list_of(value: Any, *kinds: type) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, kinds) for item in value)


def _is_column(value: Any) -> bool:
    """Whether it holds a number per sample."""
    return getattr(value, "ndim", 0) == 1 or _is_list_of(value, int, float, type(None))


def _are_texts(value: Any) -> bool:
    """Whether it is a list of texts, and not of paths of pictures or sounds."""
    return _is_list_of(value, str) and len(folders.pictures(value)) < len(value) and not _are_sounds(value)


def _are_sounds(value: Any) -> bool:
    """Whether it is a list of the paths of sounds."""
    return all(is_sound_file(os.fspath(item)) for item in value)


def _samples(role: str, source: Any, label: Any, group: Labels | None, options: Options) -> DataSet:
    """A data set whose samples are objects."""
    x, labels, broken = samples.read_samples(source, options.size, options.channels, options.reading, options.progress)
    numbered = labeling.read(labels, getattr(source, "classes", ()), options.how) if label is None else labeling.read(label, how=options.how)
    unused = [f"the keys {folders.listed(keys)}"] if (keys := samples.unused(source[0])) else []
    names = [f"#{row}" for row in range(len(source))]
    return assemble(type(source).__name__, {role: x}, options, labels=numbered, group=group, names=names, unused=unused, broken=broken)
