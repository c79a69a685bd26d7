"""Folders and globs of picture files."""

from __future__ import annotations

import glob
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from leaven.data import labels as labeling
from leaven.data.label_files import is_labels_file, read_labels
from leaven.data.labels import LabelReading, Labels
from leaven.data.sources.listing import Listing
from leaven.data.splits import canonical
from leaven.errors import UserError
from leaven.modalities.content import digest
from leaven.modalities.picture_files import Page, Source, all_pages
from leaven.modalities.picture_formats import extensions

LISTED, LONGEST = 4, 100
IMAGES, MASKS = "images", ("labels", "masks", "annotations")
"""What folders are called that hold pictures, and those beside them that hold the class of each pixel."""
NESTED: dict[str, Callable[[tuple[str, ...]], str]] = {"folder": "/".join, "innermost": lambda parts: parts[-1], "outermost": lambda parts: parts[0]}
"""The class of a file by the folders in which it lies."""


@dataclass(frozen=True, eq=False)
class Folder(Listing):
    """Picture files below a root, or the pages of such files.

    files: their relative paths with `/`, sorted; a file comes once for each of its `pages`, where these are given.
    """

    kind = "pictures"

    root: Path
    files: tuple[str, ...]
    pages: tuple[int, ...] = field(default=(), kw_only=True)

    @classmethod
    def of_pages(cls, root: Path, files: Sequence[str]) -> Folder:
        """Every page of these files as a sample of its own."""
        pages = [(file, page) for file, pages in zip(files, all_pages([root / file for file in files]), strict=True) for page in pages]
        return cls(root, tuple(file for file, _ in pages), pages=tuple(page for _, page in pages))

    @cached_property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        """The files, as `stack.tif#page` where pages count."""
        return tuple(f"{file}#{page}" for file, page in zip(self.files, self.pages, strict=True)) if self.pages else self.files

    def identity(self) -> str:
        """Changes with the root, the names, sizes, modes and times of change."""
        root = self.root.resolve()
        return digest((str(root / name), state_of(root / file)) for name, file in zip(self.names, self.files, strict=True))

    def sources(self, rows: Sequence[int]) -> list[Source]:
        files = [self.root / self.files[row] for row in rows]
        return [Page(file, self.pages[row]) for file, row in zip(files, rows, strict=True)] if self.pages else list(files)

    def groups(self) -> Tensor:
        """The pages of one file belong together."""
        return labeling.number(self.files).ids if self.pages else super().groups()

    def files_of_samples(self) -> Sequence[str]:
        return self.files

    def about(self, name: str) -> list[Any] | None:
        if name in NESTED:
            return [NESTED[name](parts) if (parts := tuple(file.split("/")[:-1])) else None for file in self.files]
        return super().about(name)

    def known_names(self) -> list[str]:
        return [*super().known_names(), *NESTED]

    def splits(self) -> list[str | None]:
        """Each file's split by the outermost folder's name; all None unless one of these folders is a train folder."""
        return self.splits_by_folder

    @cached_property
    def splits_by_folder(self) -> list[str | None]:
        tops = [name.split("/", 1)[0] if "/" in name else "" for name in self.files]
        if not any(canonical(top) == "train" for top in set(tops)):
            return [None] * len(tops)
        return [canonical(top) for top in tops]

    def labels(self, spec: str | Path | None, how: LabelReading | None = None) -> Labels:
        """None: one folder per class, if that is how the pictures lie; "folder": the folder in any case, "innermost" or "outermost" one of several
        levels; a labels file."""
        splits = self.splits_by_folder
        inside = [tuple(name.split("/")[:-1])[1 if split else 0 :] for name, split in zip(self.files, splits, strict=True)]
        if all(parts[-1:] == ("images",) for parts in inside):  # class/images/001.jpg, as Tiny ImageNet lies
            inside = [parts[:-1] for parts in inside]
        if spec is None and not labeling.folders_are_classes(inside, splits):
            return replace(Labels.none(len(inside)), notes=nested_note(inside))
        if spec is None or spec in NESTED:
            stray = [name for name, parts, split in zip(self.files, inside, splits, strict=True) if not parts and split in (None, "train")]
            deeper = [name for name, parts in zip(self.files, inside, strict=True) if len(parts) > 1] if spec is None else []
            level = "outermost" if spec is None else str(spec)
            if level == "folder" and len({parts[-1:] for parts in inside}) == len(set(inside)):
                level = "innermost"  # its name says all
            classes = [NESTED[level](parts) if parts else None for parts in inside]
            labels = labeling.number([name and unicodedata.normalize("NFC", name) for name in classes])
            notes = [f"beside the folders of classes, without a label: {len(stray):,} of the files, such as {short(stray[0])}"] if stray else []
            notes += (
                [f"deeper in the folders of classes, and of the same class: {len(deeper):,} of the files, such as {short(deeper[0])}"]
                if deeper
                else []
            )
            return replace(labels, notes=tuple(notes))
        if is_labels_file(spec):
            path = Path(spec).expanduser()
            return read_labels(path if path.exists() or not (self.root / path).exists() else self.root / path, self.files, self.root, how)
        raise UserError(
            f"no column {str(spec)!r}: a folder of pictures has no columns",
            where=self.root,
            hint="give `folder`, `innermost`, `outermost` or a csv file (file,label)",
        )


def nested_note(inside: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """How folders of several levels may become classes, where there are several classes of several files. inside: the folders of each file."""
    deep = [parts for parts in inside if len(parts) > 1]
    counts = {name: len({take(parts) for parts in deep}) for name, take in NESTED.items()}
    if not 1 < counts["innermost"] <= counts["folder"] < len(inside) / 2:
        return ()
    ways = ", ".join(f"--labels {name} ({NESTED[name](deep[0])}, ...) makes {count:,} classes" for name, count in counts.items() if count > 1)
    return (f"no labels, as the files lie in folders of several levels: {ways}",)


def state_of(file: Path) -> tuple[int, ...]:
    """Size, time of change and mode; empty where the file cannot be asked."""
    try:
        stat = os.stat(file)
    except OSError:
        return ()
    return stat.st_size, stat.st_mtime_ns, stat.st_mode


class Found(NamedTuple):
    """What lies below a folder: relative paths with `/` of its files, sorted; how many hidden files and folders were left out; empty folders."""

    files: list[str]
    hidden: int
    empty: list[str]

    def unused(self) -> list[str]:
        """What was passed over, one phrase for each kind."""
        hidden = [f"{self.hidden:,} hidden file{'s' * (self.hidden > 1)}"] if self.hidden else []
        return hidden + ([f"{len(self.empty):,} empty folder{'s' * (len(self.empty) > 1)} ({listed(self.empty)})"] if self.empty else [])


def walk(root: Path) -> Found:
    """All files below. What is hidden, and what is no file (pipes, devices), is left out; links are followed, into each folder once."""
    files: list[str] = []
    empty: list[str] = []
    hidden = 0
    waiting, seen = [""], set()
    while waiting:
        prefix = waiting.pop()
        try:
            stat = os.stat(root / prefix)
            if (stat.st_dev, stat.st_ino) in seen:
                continue
            seen.add((stat.st_dev, stat.st_ino))
            entries = list(os.scandir(root / prefix))
        except OSError as error:
            hint = "change its permissions, or leave it out"
            raise UserError(f"this folder cannot be read: {error.strerror}", where=error.filename, hint=hint) from error
        empty += [prefix.rstrip("/")] if prefix and not entries else []
        for entry in entries:
            if entry.name.startswith("."):
                hidden += 1
            else:
                if os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir():
                    waiting.append(f"{prefix}{entry.name}/")
                elif pictures([entry.name]) or entry.is_file():  # of pictures, what is no file is listed as broken
                    files.append(prefix + entry.name)
    return Found(sorted(files), hidden, sorted(empty))


def expand(pattern: str) -> tuple[Path, list[str]]:
    """The files of a glob (`**` for any depth): the last folder without a wildcard, and paths relative to it."""
    parts = Path(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:fixed])
    names = glob.glob(str(Path(*parts[fixed:])), root_dir=root, recursive=True)
    return root, sorted(name.replace(os.sep, "/") for name in names if (root / name).is_file())


def pictures(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in names if os.path.splitext(name)[1].lower() in extensions())


def masks(names: Sequence[str]) -> set[str]:
    """Those of these pictures that are masks of others: train/labels/17.png beside train/images/17.jpg."""
    found: set[str] = set()
    for kind in MASKS:
        if candidates := [name for name in names if f"/{kind}/" in f"/{name}"]:
            shown = {f"/{os.path.splitext(name)[0]}" for name in names}
            found.update(name for name in candidates if f"/{os.path.splitext(name)[0]}".replace(f"/{kind}/", f"/{IMAGES}/", 1) in shown)
    return found


def kinds(names: list[str]) -> str:
    """What files there are, by their endings, for error messages."""
    counts = Counter(os.path.splitext(name)[1].lower() or "no ending" for name in names)
    return ", ".join(f"{count} x {ending}" for ending, count in counts.most_common(5)) or "no files"


def short(name: str) -> str:
    """A name that fits into a message."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST // 2]}…{name[-LONGEST // 2 :]}"


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    return ", ".join(map(short, names[:LISTED])) + (f" and {len(names) - LISTED:,} more" if len(names) > LISTED else "")
