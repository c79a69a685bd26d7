"""Pictures, texts and numbers in columns of a table, with labels, groups and splits in others: what all kinds of tables share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from leaven.data import labels as labeling
from leaven.data.labels import Labels
from leaven.data.splits import canonical
from leaven.errors import UserError

TEXTS = ("text", "sentence", "document", "content", "body", "question", "utterance", "query", "review", "abstract", "title")  # one plays x
PAIRS = (("sentence1", "sentence2"), ("sentence_A", "sentence_B"), ("sentence_a", "sentence_b"))  # play a and b
ROLES = ("anchor", "positive", "negative", "a", "b")  # columns of these names play them
ABOUT = ("label", "labels", "split", "group", "id", "index", "file", "path", "filename")  # columns that tell of samples
SCORES = ("score", "relatedness_score", "similarity")


class Columns(ABC):
    """A listing (see `Listing`) whose samples are a column of a table. root: where it lies. files: below it, if it is made of such. names: one a row.
    column: the samples."""

    root: Path | str
    files: tuple[str, ...]
    names: Sequence[str]
    column: str

    @property
    def place(self) -> Path | str:
        """What messages name: the one file, or what holds several."""
        return Path(self.root) / self.files[0] if len(self.files) == 1 else self.root

    @abstractmethod
    def with_column(self, column: str) -> Self:
        """The same table, whose samples are this column."""

    @abstractmethod
    def column_names(self) -> list[str]: ...

    @abstractmethod
    def holds(self, column: str) -> str:
        """What samples a column makes: "pictures", "text" or "numbers"; empty for anything else."""

    @abstractmethod
    def kind_of(self, column: str) -> str:
        """What a column holds, in the library's words."""

    @abstractmethod
    def holds_classes(self, column: str) -> bool:
        """Whether a column that there is holds whole numbers, truth values or texts."""

    @abstractmethod
    def class_names(self, column: str) -> Sequence[str]:
        """The names of the classes that a column numbers; none where they are not kept."""

    @abstractmethod
    def values(self, column: str) -> list[Any]:
        """One column of all rows."""

    @abstractmethod
    def usual_splits(self) -> list[str | None]:
        """Each row's split where no column tells it."""

    @property
    def kind(self) -> str:
        return self.holds(self.column)

    def contents(self) -> list[Any]:
        """The samples themselves, of texts and numbers."""
        return self.values(self.column)

    def roles(self, columns: Mapping[str, str] | None) -> dict[str, Self]:
        """Role -> the listing of its samples: as asked for, else as the columns' names tell. UserError where there is no such column."""
        chosen = dict(columns or self.usual_roles())
        for column in chosen.values():
            if column not in self.column_names():
                raise self.no_column(column)
            if not self.holds(column):
                raise UserError(f"the column {column!r} holds {self.kind_of(column)}, neither pictures nor text nor numbers", where=self.place)
        return {role: self.with_column(column) for role, column in chosen.items()}

    def usual_roles(self) -> dict[str, str]:
        """x is the first column of pictures. Without one: roles by their names, two sentences and their score, or x, the column of texts."""
        names = self.column_names()
        held = {column: self.holds(column) for column in names}
        if pictures := [column for column in names if held[column] == "pictures"]:
            return {"x": pictures[0]}
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
        """By the column `split`, else as it is usual for the kind of table; none where no part is called train."""
        if "split" in self.column_names():
            return [None if value is None else str(value) for value in self.values("split")]
        found = [canonical(split) if split else None for split in self.usual_splits()]
        return found if "train" in found else [None] * len(found)

    def labels(self, spec: str | Path | None) -> Labels:
        """None: the column `label` if it holds classes; a column's name; or a csv file that is matched by the rows' names."""
        if spec is None:
            return self._classes("label") if self._tells("label") else Labels.none(len(self.names))
        column = str(spec)
        if column not in self.column_names():
            if column.lower().endswith(".csv"):
                return labeling.from_csv(Path(spec).expanduser(), self.names)
            raise self.no_column(column)
        if not self.holds_classes(column):
            raise UserError(f"the column {column!r} holds {self.kind_of(column)}, not classes", where=self.place)
        return self._classes(column)

    def groups(self) -> Tensor:
        """By the column `group`, if there is one that holds classes."""
        return self._classes("group").ids if self._tells("group") else Labels.none(len(self.names)).ids

    def no_column(self, column: str) -> UserError:
        return UserError(f"no column {column!r}", where=self.place, hint=f"the columns are {', '.join(self.column_names())}")

    def _tells(self, column: str) -> bool:
        return column in self.column_names() and self.holds_classes(column)

    def _classes(self, column: str) -> Labels:
        return labeling.from_column(self.values(column), self.class_names(column))
