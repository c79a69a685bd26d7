"""Pictures, texts and numbers in columns of a table, with labels, groups and splits in others: what all kinds of tables share."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from leaven.data import labels as labeling
from leaven.data.label_files import is_labels_file, read_labels
from leaven.data.labels import Labels
from leaven.data.sources.folders import Folder, listed, pictures
from leaven.data.sources.listing import Listing
from leaven.data.splits import canonical, split_of
from leaven.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

TEXTS = ("text", "sentence", "document", "content", "body", "question", "utterance", "query", "review", "abstract", "title")  # one plays x
PAIRS = (("sentence1", "sentence2"), ("sentence_A", "sentence_B"), ("sentence_a", "sentence_b"))  # play a and b
ROLES = ("anchor", "positive", "negative", "a", "b")  # columns of these names play them
ABOUT = ("label", "labels", "split", "group", "id", "index", "file", "path", "filename")  # columns that describe samples
FIRST = 20  # values by which a column's kind is judged where reading all would take long
SCORES = ("score", "relatedness_score", "similarity")


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
        """What samples a column makes: "pictures" (their bytes, or names of files), "text" or "numbers"; empty for anything else."""
        import pyarrow.types as types

        kind = self.arrow_type(column)
        if types.is_struct(kind):
            return "pictures" if any(field.name == "bytes" and is_bytes(field.type) for field in kind) else ""
        if is_bytes(kind):
            return "pictures"
        if is_text(kind):
            return "pictures" if self.names_pictures(column) else "text"
        return "numbers" if types.is_integer(kind) or types.is_floating(kind) else ""

    def holds_classes(self, column: str) -> bool:
        """Whether an existing column holds whole numbers (as floats as well, which a table makes of them where some are missing), truth values or
        texts."""
        import pyarrow.types as types

        kind = self.arrow_type(column)
        kind = kind.value_type if types.is_dictionary(kind) else kind
        if types.is_floating(kind):
            known = [value for value in self.values(column) if value is not None and value == value]
            return bool(known) and all(float(value).is_integer() for value in known)
        return types.is_integer(kind) or types.is_boolean(kind) or is_text(kind)

    def names_pictures(self, column: str) -> bool:
        """Whether most of a column's first values name picture files, relative to where the table lies."""
        if not isinstance(self.root, Path) or not is_text(self.arrow_type(column)):
            return False
        files = [str(value).strip() for value in self.first_values(column) if value]
        return 2 * len(pictures(files)) > len(files)

    def have_files(self, column: str) -> bool:
        """Whether pictures are there: their bytes, or some of the files that a column names."""
        if column == "file" or not self.names_pictures(column):
            return True
        return any((Path(self.root) / str(file).strip()).exists() for file in self.first_values(column) if file)

    def listing(self, column: str) -> Listing:
        """The samples of a column. Raises UserError where there is no such column."""
        if column not in self.column_names():
            raise self.no_column(column)
        if not self.holds(column):
            raise UserError(f"the column {column!r} holds {self.arrow_type(column)}, neither pictures nor text nor numbers", where=self.place)
        if not self.names_pictures(column):
            return dataclasses.replace(self, column=column)  # type: ignore[type-var]
        return ListedFiles(Path(self.root), tuple(str(value or "").strip().replace("\\", "/") for value in self.values(column)), self)

    @cached_property
    def kind(self) -> str:  # type: ignore[override]
        return self.holds(self.column)

    def contents(self) -> list[Any]:
        return self.values(self.column)

    def usual_roles(self) -> dict[str, str]:
        """x is the first column of pictures. Without one: roles by their names, two sentences and their score, or x, the column of texts."""
        names = self.column_names()
        held = {column: self.holds(column) for column in names}
        if shown := [column for column in names if held[column] == "pictures" and self.have_files(column)]:
            return {"x": shown[0]}
        texts = [column for column in names if held[column] == "text" and column.lower() not in ABOUT]
        if named := [column for column in texts if column in ROLES]:
            return {column: column for column in named}
        for a, b in PAIRS:
            if a in texts and b in texts:
                score = next((column for column in SCORES if held.get(column) == "numbers"), None)
                return {"a": a, "b": b} | ({} if score is None else {"score": score})
        usual = next((column for name in TEXTS for column in texts if column.lower() == name), None)
        if usual or len(texts) == 1:
            return {"x": usual or texts[0]}
        hint = f"the columns are {', '.join(names)}"
        if not texts:
            raise UserError("no column of pictures or text", where=self.place, hint=hint)
        raise UserError("which column holds the text?", where=self.place, hint=f"say so with --columns x={texts[0]}; {hint}")

    def splits(self) -> list[str | None]:
        """By the column `split`, else by the names of files or parts; none where no part is called train."""
        if "split" in self.column_names():
            return [None if value is None else str(value) for value in self.values("split")]
        known = {part: canonical(self.split_of_part(part) or "") for part in self.parts}
        trained = "train" in known.values()
        return [known[part] if trained else None for part, count in self.parts.items() for _ in range(count)]

    def labels(self, spec: str | Path | None) -> Labels:
        """None: the column `label` if it holds classes; a column's name; or a csv file that is matched by the rows' names."""
        if spec is None:
            return self.classes("label") if self.tells("label") else Labels.none(len(self.names))
        column = str(spec)
        if column not in self.column_names():
            if is_labels_file(column):
                return read_labels(Path(spec).expanduser(), self.names)
            raise self.no_column(column)
        if not self.holds_classes(column):
            raise UserError(f"the column {column!r} holds {self.arrow_type(column)}, not classes", where=self.place)
        return self.classes(column)

    def groups(self) -> Tensor:
        """By the column `group`, if there is one that holds classes."""
        return self.classes("group").ids if self.tells("group") else super().groups()

    def unused(self, used: Collection[str]) -> list[str]:
        """The columns of text, pictures and numbers that are not among those used."""
        rest: dict[str, list[str]] = {}
        for column in self.column_names():
            if column not in used and column.lower() not in ABOUT and (kind := self.holds(column)):
                rest.setdefault(kind, []).append(column)
        return [f"{len(columns)} column{'s' if len(columns) > 1 else ''} of {kind} ({listed(columns)})" for kind, columns in rest.items()]

    def no_column(self, column: str) -> UserError:
        return UserError(f"no column {column!r}", where=self.place, hint=f"the columns are {', '.join(self.column_names())}")

    def tells(self, column: str) -> bool:
        """Whether there is such a column of classes."""
        return column in self.column_names() and self.holds_classes(column)

    def classes(self, column: str) -> Labels:
        return labeling.of_cells(self.values(column), self.class_names(column))


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

    def labels(self, spec: str | Path | None) -> Labels:
        """None: the column `label`, if there is one, else the folders; else a column's name, or what a folder takes."""
        column = "label" if spec is None else str(spec)
        of_a_folder = spec is None or column == "folder" or is_labels_file(column)
        return super().labels(spec) if of_a_folder and column not in self.table.column_names() else self.table.labels(spec)

    def groups(self) -> Tensor:
        return self.table.groups()
