"""Which files of a folder hold the samples, and what else lies there."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from leaven.data.class_names import FILE
from leaven.data.sources.columns import Columns
from leaven.data.sources.folders import kinds, listed, masks, pictures
from leaven.data.sources.lines import Lines
from leaven.data.sources.tables import Table
from leaven.data.sources.text_files import DOCUMENTS, LINES
from leaven.data.splits import split_of
from leaven.errors import UserError
from leaven.modalities.content import evenly_spaced
from leaven.modalities.picture_files import Unusable, opened
from leaven.modalities.picture_formats import looks_like_a_picture
from leaven.modalities.signal_arrays import says_its_rate
from leaven.modalities.signal_files import EDF, OF_MNE, is_time_table
from leaven.modalities.signal_files import TABLES as OVER_TIME
from leaven.modalities.sound_files import SOUNDS, UNREAD_SOUNDS

TABLES, ARRAYS = (".parquet", ".pq"), (".npy", ".npz")
UNREAD = (
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2", ".svg", ".svgz", ".pdf", ".eps", ".ai"),
    *(".dcm", ".nii", ".nii.gz", ".nd2", ".czi", ".lif", ".vsi", ".svs", ".ndpi", ".mrxs", ".scn", ".h5", ".hdf5", ".zarr", ".fits", ".exr", ".hdr"),
)
NOTES = {"readme", "license", "licence", "copying", "notice", "changelog", "authors", "contributing", "citation", "requirements"}
MOST_PARTS, LOOKED_AT, MOST_BANDS = 7, 32, 1024  # x and y of three splits are six files
MOST_TABLES = 2000  # whose beginnings are looked at
NAMED = 3  # files that are called by their names where there are no more of a kind


@dataclass(frozen=True)
class Kinds:
    """Files by what they may hold. README, LICENSE and the like are no data beside other files. passed_over: what lies
    there and is no file to read, one phrase for each kind."""

    names: tuple[str, ...]
    pictures: tuple[str, ...]
    tables: tuple[str, ...]
    arrays: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    documents: tuple[str, ...]
    sounds: tuple[str, ...]
    recorded: tuple[str, ...]
    passed_over: tuple[str, ...] = ()

    @classmethod
    def of(cls, root: Path, names: Sequence[str], passed_over: Sequence[str] = ()) -> Kinds:
        """By their endings; pictures also by how they begin, where the ending says nothing."""

        def ending(*endings: str) -> tuple[str, ...]:
            return tuple(name for name in names if name.lower().endswith(endings))

        names = [name for name in names if name != FILE or len(names) == 1]
        documents = tuple(name for name in ending(*DOCUMENTS) if len(names) == 1 or PurePosixPath(name).stem.lower() not in NOTES)
        lines = tuple(ending(suffix) for suffix in LINES)
        known = {*pictures(names), *ending(*TABLES, *ARRAYS, *LINES, *DOCUMENTS, *SOUNDS, *UNREAD_SOUNDS, *UNREAD, *EDF, *OF_MNE)}
        shown = tuple(name for name in names if (name in known and pictures([name])) or (name not in known and looks_like_a_picture(root / name)))
        hidden = masks(shown)
        shown = tuple(name for name in shown if name not in hidden)
        kept = (ending(*TABLES), ending(*ARRAYS), lines, documents, ending(*SOUNDS), ending(*EDF, *OF_MNE))
        return cls(tuple(names), shown, *kept, tuple(passed_over))

    @property
    def usable(self) -> int:
        """How many files can be read."""
        return sum(map(len, (self.pictures, self.tables, self.arrays, *self.lines, self.documents, self.sounds, self.recorded)))

    def table(self, root: Path) -> Columns | None:
        """The table that these files hold: parquet, delimited files, or lines of text; None where there is none."""
        if self.tables:
            return Table(root, self.tables)
        files = max(self.lines, key=len)
        if not files and (len(self.documents) == 1 or all(split_of(file) for file in self.documents)):
            files = self.documents
        return Lines.read(root, files) if files else None

    def pictures_in_arrays(self, root: Path) -> tuple[str, ...]:
        """The .npy files, where each holds one picture of as many channels as the others."""
        if len(self.arrays) < MOST_PARTS or self.usable > len(self.arrays) or not all(name.lower().endswith(".npy") for name in self.arrays):
            return ()
        bands = set()
        for row in evenly_spaced(len(self.arrays), LOOKED_AT):
            try:
                with opened(root / self.arrays[row]) as file:
                    bands.add(file.bands if file.bands <= MOST_BANDS else 0)
            except Unusable:
                return ()
        return self.arrays if len(bands) == 1 and 0 not in bands else ()

    @property
    def are_sounds(self) -> bool:
        """Whether these are sounds, perhaps with texts of the same names, and tables, beside them."""
        stems = {stem(name) for name in self.sounds}
        texts = [name for name in self.documents if stem(name) not in stems]
        others = (texts, self.pictures, self.tables, self.arrays, self.recorded, *self.lines)
        return bool(self.sounds) and len(self.sounds) >= max(map(len, others))

    def signals(self, root: Path, layout: str, rated: bool, columns: bool) -> tuple[tuple[str, ...], str | None]:
        """The files of signals, and how arrays among them are laid out (None: they are no arrays); none where other files are more numerous.

        rated: whether the user gave a rate, so that arrays are signals. columns: whether the user named columns, so that tables are tables.
        """
        arrays = self.arrays if rated else tuple(name for name in self.arrays if says_its_rate(root / name))
        arrays = arrays if 2 * len(arrays) > len(self.arrays) else ()
        tables = () if columns else next((lines for lines in self.lines if lines and lines[0].lower().endswith(OVER_TIME)), ())
        tables = tuple(name for name in tables if is_time_table(root / name)) if len(tables) <= MOST_TABLES else tables
        most = max((self.recorded, arrays, tables), key=len)
        others = (self.pictures, self.tables, *(tuple(name for name in lines if name not in tables) for lines in self.lines))
        if not most or len(most) < max(map(len, others)):
            return (), None
        return most, layout if most is arrays else None

    def nothing_usable(self, root: Path) -> UserError:
        if any(name.lower().endswith(UNREAD_SOUNDS) for name in self.names):
            hint = f"found {kinds(list(self.names))}; convert them, as with `ffmpeg -i in.m4a out.wav` for each"
            return UserError("these sounds are in formats that Leaven does not read", where=root, hint=hint)
        if any(name.lower().endswith(UNREAD) for name in self.names):
            hint = f"found {kinds(list(self.names))}; save them as TIFF, PNG or .npy"
            return UserError("these are in formats that Leaven does not read", where=root, hint=hint)
        readable = "pictures, sounds, .edf, .parquet, .csv, .tsv, .jsonl, .txt, .npy, .npz and MNIST-like idx files can be read"
        return UserError("no pictures, sounds, tables or texts here", where=root, hint=f"found {kinds(list(self.names))}; {readable}")

    def unused(self, used: Collection[str]) -> list[str]:
        """What lies beside the files in use, an entry for each kind."""
        rest, stems = set(self.names).difference(used), {stem(name) for name in used}
        captions = tuple(name for name in self.documents if stem(name) in stems)
        sorts = {
            "text of the same name as a sample": captions,
            "text": self.documents,
            "sound": self.sounds,
            "picture": self.pictures,
            "table": (*self.tables, *(name for files in self.lines for name in files)),
            "array file": self.arrays,
            "recording": self.recorded,
            "sound in a format that Leaven does not read, but ffmpeg converts": tuple(
                name for name in self.names if name.lower().endswith(UNREAD_SOUNDS)
            ),
            "mask of the same name as a picture": tuple(masks([name for name in self.names if pictures([name])])),
            "picture in a format that Leaven does not read": tuple(name for name in self.names if name.lower().endswith(UNREAD)),
            "other file": self.names,
        }
        entries = []
        for what, files in sorts.items():
            if left := [name for name in files if name in rest]:
                entries.append(counted(left, what))
                rest.difference_update(left)
        return [*entries, *self.passed_over]


def stem(name: str) -> str:
    return os.path.splitext(name)[0]


def counted(files: Sequence[str], what: str) -> str:
    """How many files of a kind: by name where they are few, else by their endings."""
    if len(files) == 1:
        return f"1 {what} ({files[0]})"
    endings = Counter(Path(name).suffix.lower() or "no ending" for name in files)
    noun, _, rest = what.partition(" of ")
    plural = f"{noun}s of the same names as samples" if rest else f"{what}s"
    return f"{len(files):,} {plural} ({listed(files) if len(files) <= NAMED else listed([ending for ending, _ in endings.most_common()])})"
