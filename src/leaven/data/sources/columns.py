"""Pictures, texts and numbers in columns of a table, with labels, groups and splits in others: what all kinds of tables share."""

from __future__ import annotations

import dataclasses
import re
from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from leaven.data import labels as labeling
from leaven.data.label_files import INDEX, LABEL_COLUMNS, TAG_COLUMNS, is_labels_file, read_labels
from leaven.data.labels import LabelReading, Labels
from leaven.data.sources.folders import NESTED, Folder, listed, pictures
from leaven.data.sources.listing import Listing
from leaven.data.sources.numbers import Vectors, are_categories, are_dates, is_list_of_numbers, is_number, number_words, numbers_in, numbers_of
from leaven.data.sources.pairs import pair_roles
from leaven.data.sources.recordings import Recordings
from leaven.data.splits import canonical, split_of
from leaven.errors import UserError
from leaven.modalities.sound_files import begins_as_sound, is_sound_file

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

TEXTS = ("text", "sentence", "document", "content", "body", "question", "utterance", "query", "review", "abstract", "title")  # one plays x
ABOUT = ("label", "labels", "split", "group", "id", "index", "file", "path", "filename")  # columns that describe samples
FILES = ("pictures", "sounds")  # what columns of files hold
FIRST = 20  # values by which a column's kind is judged where reading all would take long
CLASS_VALUES = 100_000  # values of a column by which it is judged, at most
LABELS = (*LABEL_COLUMNS, "is_duplicate", "gold_label")
TELLING = ("numbers", "text")  # what columns may hold that say whether samples have a tag
SENTENCE = 6  # words from which texts are no names or categories
ALL_NUMBERS = "numbers"  # stands for all columns of numbers and categories where a role is given its column


class Columns(Listing):
    """A listing whose samples are a column of a table. files: below the root, if it is made of such. Subclasses are dataclasses."""

    files: tuple[str, ...]
    column: str

    @property
    def place(self) -> Path | str:
        """What messages name: the one file, or what holds several."""
        return Path(self.root) / self.files[0] if len(self.files) == 1 else self.root

    @property
    @abstractmethod
    def parts(self) -> dict[str, int]:
        """Rows per file, or per split of a data set."""

    @abstractmethod
    def column_names(self) -> list[str]: ...

    @abstractmethod
    def arrow_type(self, column: str) -> pa.DataType:
        """What a column holds."""

    @abstractmethod
    def values(self, column: str) -> list[Any]:
        """One column of all rows."""

    def first_values(self, column: str) -> list[Any]:
        """A few values from its beginning."""
        return self.values(column)[:FIRST]

    def class_names(self, column: str) -> Sequence[str]:
        """The names of the classes that a column numbers; none where they are not kept."""
        return ()

    def split_of_part(self, part: str) -> str | None:
        """By a file's name (`train-00000.parquet`, `test-asr.csv`), else its folder's."""
        return split_of(part)

    @cached_property
    def names(self) -> Sequence[str]:  # type: ignore[override]
        """`file.csv#row` or `split#row` for each row."""
        return [f"{part}#{row}" for part, count in self.parts.items() for row in range(count)]

    def holds(self, column: str) -> str:
        """What samples a column makes: "pictures" or "sounds" (their bytes, or names of files), "text" or "numbers" (also truth values, and lists of
        numbers); of others "dates", or empty."""
        import pyarrow.types as types

        kind = self.arrow_type(column)
        kind = kind.value_type if types.is_dictionary(kind) else kind
        if types.is_struct(kind):
            return self.bytes_hold(column) if any(field.name == "bytes" and is_bytes(field.type) for field in kind) else ""
        if is_bytes(kind):
            return self.bytes_hold(column)
        if is_text(kind):
            if files := self.names_files(column):
                return files
            return "numbers" if self.writes_numbers(column) else "dates" if are_dates(self.first_values(column)) else "text"
        return "numbers" if is_number(kind) or is_list_of_numbers(kind) else "dates" if types.is_temporal(kind) else ""

    def writes_numbers(self, column: str) -> bool:
        """Whether a column of texts holds numbers as they are written."""
        cells = [cell for cell in self.first_values(column) if numbers_in(cell) != []]
        if (cells and numbers_of(cells) is None) or (numbers := self.numbers(column)) is None:
            return False
        return column.lower() not in TEXTS or (numbers.shape[1] == 1 and all(numbers_in(cell) is not None for cell in self.values(column)))

    def read_numbers(self, column: str) -> np.ndarray | None:
        return numbers_of(self.values(column))

    def numbers(self, column: str) -> np.ndarray | None:
        """(N, D) float64 of a column that holds D numbers per row, NaN where they are missing; None where it holds no numbers."""
        if column not in self.matrices:
            self.matrices[column] = self.read_numbers(column)
        return self.matrices[column]

    @cached_property
    def matrices(self) -> dict[str, np.ndarray | None]:
        """What was read of columns of numbers."""
        return {}

    def holds_classes(self, column: str) -> bool:
        """Whether an existing column holds whole numbers (as floats as well, which a table makes of them where some are missing), truth values or
        texts, or lists of these."""
        import pyarrow.types as types

        kind = self.arrow_type(column)
        kind = kind.value_type if types.is_dictionary(kind) else kind
        if types.is_floating(kind):
            known = [value for value in self.values(column) if value is not None and value == value]
            return bool(known) and all(float(value).is_integer() for value in known)
        kind = kind.value_type if types.is_list(kind) or types.is_large_list(kind) else kind
        return types.is_integer(kind) or types.is_boolean(kind) or is_text(kind)

    def bytes_hold(self, column: str) -> str:
        """Whether files in a column are sounds, by how they begin, or pictures."""
        if column not in self.contained:
            cells = [cell.get("bytes") if isinstance(cell, Mapping) else cell for cell in self.first_values(column)]
            known = [cell for cell in cells if cell]
            self.contained[column] = "sounds" if known and 2 * sum(map(begins_as_sound, known)) > len(known) else "pictures"
        return self.contained[column]

    @cached_property
    def contained(self) -> dict[str, str]:
        """What columns of files hold."""
        return {}

    def names_files(self, column: str) -> str:
        """ "pictures" or "sounds" where most of a column's first values name such files, relative to where the table lies; else empty."""
        if not isinstance(self.root, Path) or not is_text(self.arrow_type(column)):
            return ""
        files = [str(value).strip() for value in self.first_values(column) if value]
        counts = {"pictures": len(pictures(files)), "sounds": sum(map(is_sound_file, files))}
        return next((kind for kind, count in counts.items() if 2 * count > len(files)), "")

    def have_files(self, column: str) -> bool:
        """Whether pictures are there: their bytes, or some of the files that a column names."""
        if column == "file" or not self.names_files(column):
            return True
        return any((Path(self.root) / str(file).strip()).exists() for file in self.first_values(column) if file)

    def listing(self, column: str | tuple[str, ...], known: Iterable[Mapping[str, Any]] | None = None) -> Listing:
        """The samples of a column, or of several columns side by side. known: how columns were read for an encoder (see `Vectors`); those of other
        names are taken in its order.

        Raises UserError where there is no such column.
        """
        columns = column if isinstance(column, tuple) else (column,)
        for name in columns:
            if name not in self.column_names():
                raise self.no_column(name)
        if not isinstance(column, tuple) and (kind := self.holds(column)) != "numbers":
            if kind not in (*FILES, "text"):
                raise UserError(f"the column {column!r} holds {self.arrow_type(column)}, neither pictures nor text nor numbers", where=self.place)
            if kind == "text" or not self.names_files(column):
                return dataclasses.replace(self, column=column)  # type: ignore[type-var]
            files = tuple(str(value or "").strip().replace("\\", "/") for value in self.values(column))
            if kind == "sounds":
                return Recordings(Path(self.root), files, table=self, table_rows=tuple(range(len(files))))
            return ListedFiles(Path(self.root), files, self)
        read = {entry["column"]: entry for entry in known or ()}
        entries = [read[name] for name in columns] if read.keys() >= set(columns) else list(read.values()) if len(read) == len(columns) else None
        return Vectors(self, columns, entries)

    @cached_property
    def kind(self) -> str:  # type: ignore[override]
        return self.holds(self.column)

    def contents(self) -> list[Any]:
        return self.values(self.column)

    def usual_roles(self, labels: Collection[str] = ()) -> dict[str, str | tuple[str, ...]]:
        """x is the first column of pictures or sounds. Without one: two or three columns of texts by their names; or x, the column of sentences, or
        all columns of numbers and categories side by side. labels: the columns that hold the labels, where they are known."""
        names = self.column_names()
        held = {column: self.holds(column) for column in names}
        if shown := [column for column in names if held[column] in FILES and self.have_files(column)]:
            return {"x": shown[0]}
        labels = labels or tuple(filter(None, [self.label_column()]))
        texts = [column for column in names if held[column] == "text" and column.lower() not in ABOUT and column not in labels]
        numbers = [column for column in names if held[column] == "numbers" and column not in labels]
        pair = pair_roles(texts, numbers, bool(labels))
        if pair and any(number_words(self.first_values(column)) > 1 or not are_categories(self.values(column)) for column in list(pair.values())[:2]):
            return dict(pair)
        vectors = self.vector_columns(labels)
        many = sum(column in numbers for column in vectors) > 1 or any(self.width(column) > 1 for column in vectors)
        usual = next((column for name in TEXTS for column in texts if column.lower() == name), None)
        if vectors and usual is not None and are_categories(self.values(usual)) and number_words(self.first_values(usual)) < 3:
            usual = None
        free = [column for column in texts if column not in vectors]
        sentences = [column for column in free if not many or number_words(self.values(column)[:CLASS_VALUES]) >= SENTENCE]
        if usual or len(sentences) == 1:
            return {"x": usual or sentences[0]}
        if vectors and not sentences:
            return {"x": vectors}
        hint = f"the columns are {', '.join(names)}"
        if not texts:
            raise UserError("no column of pictures, text or numbers", where=self.place, hint=hint)
        texts = sentences or texts
        if len(texts) == 1:
            return {"x": texts[0]}
        pair_hint = f"or, for pairs, --columns anchor={texts[0]},positive={texts[1]}"
        raise UserError("which column holds the text?", where=self.place, hint=f"say so with --columns x={texts[0]}, {pair_hint}; {hint}")

    def choices(self, roles: Mapping[str, str | tuple[str, ...]], labels: Collection[str] = ()) -> list[str]:
        """Notes about roles that the user did not choose."""
        renamed = len(roles) > 1 and any(role != column for role, column in roles.items())
        notes = [", ".join(f"{role} is the column {column}" for role, column in roles.items())] if renamed else []
        if (usual := self.label_column()) not in (None, "label") and not labels:
            notes.append(f"the labels are those of the column {usual}")
        if isinstance(column := next(iter(roles.values())), tuple):
            index = [column for column in self.column_names() if column.lower() not in ("split", "group") and self.is_index(column)]
            notes += [f"left out, since they name the rows: {listed([repr(column) for column in index])}"] if index else []
        elif self.holds(column) == "text" and len(roles) == 1 and len(vectors := self.vector_columns(labels)) > 1:
            notes.append(f"the samples are the texts of {column}; --columns x={ALL_NUMBERS} reads the {len(vectors)} columns of numbers instead")
        return notes

    def vector_columns(self, labels: Collection[str] = ()) -> tuple[str, ...]:
        """Those of numbers, truth values and few categories that do not describe samples; none where no column holds numbers."""
        columns = [column for column in self.column_names() if column.lower() not in (*ABOUT, *LABELS) and column not in labels]
        kinds = {column: self.holds(column) for column in columns if not self.is_index(column)}
        numbers = {column for column, kind in kinds.items() if kind == "numbers" and self.numbers(column) is not None}
        if not numbers:
            return ()
        return tuple(column for column, kind in kinds.items() if column in numbers or (kind == "text" and are_categories(self.values(column))))

    def width(self, column: str) -> int:
        """How many numbers a column holds per row; 0 where it holds none."""
        numbers = self.numbers(column) if self.holds(column) == "numbers" else None
        return 0 if numbers is None else numbers.shape[1]

    def is_index(self, column: str) -> bool:
        """Whether a column numbers or names the rows, by its name; `patient_id` and the like if no value comes again."""
        name = column.strip().lower()
        if name in (*INDEX, "id", "#", "__index_level_0__") or re.fullmatch(r"unnamed: \d+", name):
            return True
        values = self.values(column) if re.search(r"([_\s.-](id|ID|Id)|[a-z]I[dD]|^(row|no|nr|ID))$", column.strip()) else []
        return len(values) > 1 and len(set(map(str, values))) == len(values)

    def parts_of(self, column: str, labels: Collection[str] = ()) -> str | tuple[str, ...]:
        """What a user means: a column's name, "first:second" for several side by side, or "numbers" for all of numbers and categories."""
        names = self.column_names()
        if column in names:
            return column
        if column == ALL_NUMBERS and (columns := self.vector_columns(labels)):
            return columns
        parts = tuple(column.split(":"))
        return parts if len(parts) > 1 and any(part in names for part in parts) else column

    def label_column(self) -> str | None:
        """The column `label`, else one that is called as labels are, if it holds classes, which come again, or tags; else one of tags that is called
        so."""
        if "label" in self.column_names():
            return "label" if self.holds_classes("label") else None
        lower = {column.lower(): column for column in self.column_names()}
        usual = next((lower[name] for name in LABELS if name in lower and (self.repeats(lower[name]) or self.holds_tags(lower[name]))), None)
        return usual or next((lower[name] for name in TAG_COLUMNS if name in lower and self.holds_tags(lower[name])), None)

    def repeats(self, column: str) -> bool:
        """Whether a column holds classes, and each of them on average at least twice."""
        values = [str(value) for value in self.values(column)[:CLASS_VALUES] if value is not None] if self.holds_classes(column) else []
        return 1 < len(set(values)) <= len(values) / 2

    def splits(self) -> list[str | None]:
        """By the column `split`, else by the names of files or parts; none where no part is called train."""
        if "split" in self.column_names():
            return [None if value is None else str(value) for value in self.values("split")]
        known = {part: canonical(self.split_of_part(part) or "") for part in self.parts}
        trained = "train" in known.values()
        return [known[part] if trained else None for part, count in self.parts.items() for _ in range(count)]

    def labels(self, spec: str | Path | None, how: LabelReading | None = None) -> Labels:
        """None: the column that is called as labels are, if it holds classes or tags; a column's name; "first:second" for columns of 0 and 1; or a
        csv file that is matched by the rows' names."""
        if spec is None:
            usual = self.label_column()
            return Labels.none(len(self.names)) if usual is None else self.classes(usual, how)
        columns = self.named_labels(str(spec))
        if not columns:
            if is_labels_file(spec):
                return read_labels(Path(spec).expanduser(), self.names, how=how)
            raise self.no_column(str(spec))
        if len(columns) > 1:
            labels = labeling.of_columns({column: self.values(column) for column in columns}, how)
            if labels is None:
                what = f"the columns {', '.join(columns)} do not all hold 0 and 1"
                raise UserError(what, where=self.place, hint="several columns are labels if each says whether a sample has a tag")
            return labels
        if not self.holds_classes(columns[0]):
            raise UserError(f"the column {columns[0]!r} holds {self.arrow_type(columns[0])}, not classes", where=self.place)
        return self.classes(columns[0], how)

    def named_labels(self, spec: str | None) -> tuple[str, ...]:
        """The columns that a user names as labels: one, or several as "first:second"; none where there are no such columns."""
        parts = () if spec is None else (spec,) if spec in self.column_names() else tuple(spec.split(":"))
        return parts if set(parts) <= set(self.column_names()) else ()

    def groups(self) -> Tensor:
        """By the column `group`, if there is one that holds names or numbers."""
        return labeling.of_cells(self.values("group"), how=LabelReading("classes")).ids if self.tells("group") else super().groups()

    def column_of(self, name: str) -> list[Any] | None:
        return self.values(name) if self.tells(name) else None

    def known_names(self) -> list[str]:
        return self.column_names()

    def unused(self, used: Collection[str]) -> list[str]:
        """The columns of text, pictures and numbers that are not among those used."""
        rest: dict[str, list[str]] = {}
        for column in self.column_names():
            if column not in used and column.lower() not in ABOUT and not self.is_index(column) and (kind := self.holds(column)):
                rest.setdefault(kind, []).append(column)
        return [f"{len(columns)} column{'s' if len(columns) > 1 else ''} of {kind} ({listed(columns)})" for kind, columns in rest.items()]

    def no_column(self, column: str) -> UserError:
        return UserError(f"no column {column!r}", where=self.place, hint=f"the columns are {', '.join(self.column_names())}")

    def tells(self, column: str) -> bool:
        """Whether there is such a column of classes."""
        return column in self.column_names() and self.holds_classes(column)

    def classes(self, column: str, how: LabelReading | None = None) -> Labels:
        return labeling.of_cells(self.values(column), self.class_names(column), how)

    def tag_columns(self, used: Collection[str]) -> tuple[str, ...]:
        """Two columns or more that say of each row whether it has a tag, beside those used; none where there are fewer."""
        candidates = [
            column for column in self.column_names() if column not in used and column.lower() not in ABOUT and self.holds(column) in TELLING
        ]
        texts = {column: ["" if cell is None else str(cell).strip().lower() for cell in self.values(column)[:CLASS_VALUES]] for column in candidates}
        columns = tuple(column for column, cells in texts.items() if len(set(cells)) > 1 and labeling.are_binary(cells))
        return columns if len(columns) > 1 else ()

    def holds_tags(self, column: str) -> bool:
        """Whether a column holds lists of tags."""
        values = self.values(column)[:CLASS_VALUES] if self.holds_classes(column) else []
        return labeling.of_cells(values).present is not None if values else False


def is_text(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    return types.is_string(kind) or types.is_large_string(kind)


def is_bytes(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    return types.is_binary(kind) or types.is_large_binary(kind)


@dataclass(frozen=True, eq=False)
class ListedFiles(Folder):
    """Picture files that a column of a table names. What the table does not say of them, their folders may."""

    table: Columns

    def splits(self) -> list[str | None]:
        """By the column `split`, else by the folders' names, else by those of several tables."""
        by_folder = super().splits()
        return self.table.splits() if "split" in self.table.column_names() or (not any(by_folder) and len(self.table.parts) > 1) else by_folder

    def labels(self, spec: str | Path | None, how: LabelReading | None = None) -> Labels:
        """None: the column of labels, if there is one, else the folders; else a column's name, or what a folder takes."""
        column = (self.table.label_column() or "label") if spec is None else str(spec)
        of_a_folder = spec is None or column in NESTED or is_labels_file(column)
        return super().labels(spec, how) if of_a_folder and column not in self.table.column_names() else self.table.labels(spec, how)

    def groups(self) -> Tensor:
        return self.table.groups()

    def column_of(self, name: str) -> list[Any] | None:
        return self.table.column_of(name)

    def known_names(self) -> list[str]:
        return [*super().known_names(), *self.table.column_names()]
