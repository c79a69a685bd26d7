"""Pictures in a column of a table, with labels, groups and splits in others: what parquet and Hugging Face data sets share."""

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


class Columns(ABC):
    """A listing (see `Listing`) whose pictures are a column of a table. root: where it lies, for messages. names: one a row."""

    root: Path | str
    names: Sequence[str]

    @abstractmethod
    def with_column(self, column: str) -> Self:
        """The same table, whose pictures are this column."""

    @abstractmethod
    def column_names(self) -> list[str]: ...

    @abstractmethod
    def picture_columns(self) -> list[str]:
        """Columns that hold pictures."""

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

    def roles(self, columns: Mapping[str, str] | None) -> dict[str, Self]:
        """Role -> the listing of its pictures: as asked for, else x is the first column of pictures. UserError where there is no such column."""
        found = self.picture_columns()
        for column in (columns or {}).values():
            if column not in self.column_names():
                raise self.no_column(column)
            if column not in found:
                raise UserError(f"the column {column!r} holds {self.kind_of(column)}, not pictures", where=self.root)
        if not columns and not found:
            raise UserError("no column of pictures", where=self.root, hint=f"the columns are {', '.join(self.column_names())}")
        return {role: self.with_column(column) for role, column in (columns or {"x": found[0]}).items()}

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
            raise UserError(f"the column {column!r} holds {self.kind_of(column)}, not classes", where=self.root)
        return self._classes(column)

    def groups(self) -> Tensor:
        """By the column `group`, if there is one that holds classes."""
        return self._classes("group").ids if self._tells("group") else Labels.none(len(self.names)).ids

    def no_column(self, column: str) -> UserError:
        return UserError(f"no column {column!r}", where=self.root, hint=f"the columns are {', '.join(self.column_names())}")

    def _tells(self, column: str) -> bool:
        return column in self.column_names() and self.holds_classes(column)

    def _classes(self, column: str) -> Labels:
        return labeling.from_column(self.values(column), self.class_names(column))
