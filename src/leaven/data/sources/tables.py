"""Parquet tables; pictures in the convention of Hugging Face."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leaven.data.sources.columns import FIRST, Columns
from leaven.data.sources.folders import state_of
from leaven.data.sources.huggingface import HuggingFace
from leaven.data.sources.numbers import numbers_of_arrow
from leaven.errors import UserError
from leaven.modalities.content import digest, evenly_spaced
from leaven.modalities.decoding import SURVEY
from leaven.modalities.picture_files import Source

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

SURVEY_GROUPS = 8


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What a damaged file makes the library raise becomes a UserError that names it."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise UserError(f"not a whole parquet file: {error}", where=path, hint="fetch or write the file again") from error


@dataclass(frozen=True, eq=False)
class Table(Columns):
    """Parquet files of one schema below a root, read row group by row group."""

    root: Path
    files: tuple[str, ...]
    column: str = ""

    def __getstate__(self) -> dict[str, Any]:
        """Open files do not travel to another process."""
        return {"root": self.root, "files": self.files, "column": self.column}

    @cached_property
    def opened(self) -> tuple[pq.ParquetFile, ...]:
        import pyarrow.parquet as pq

        tables = []
        for name in self.files:
            with reading(self.root / name):
                tables.append(pq.ParquetFile(self.root / name))
            if tables[-1].schema_arrow.names != tables[0].schema_arrow.names:
                raise UserError(f"its columns differ from those of {self.files[0]}", where=self.root / name, hint="give one table at a time")
        return tuple(tables)

    @property
    def schema(self) -> pa.Schema:
        return self.opened[0].schema_arrow

    @property
    def parts(self) -> dict[str, int]:
        return {name: table.metadata.num_rows for name, table in zip(self.files, self.opened, strict=True)}

    def identity(self) -> str:
        root = self.root.resolve()
        return digest((self.column, str(root / name), state_of(root / name)) for name in self.files)

    def chunks(self, size: int) -> Iterator[list[Source]]:
        for file in zip(self.opened, self.files, strict=True):
            yield from self._read(*file, size)

    def sample(self, most: int = SURVEY) -> Iterator[Source]:
        """Up to 512 pictures, from the beginnings of up to 8 row groups, evenly spaced."""
        groups = [(*file, group) for file in zip(self.opened, self.files, strict=True) for group in range(file[0].num_row_groups)]
        chosen = [groups[i] for i in evenly_spaced(len(groups), SURVEY_GROUPS)]
        for table, name, group in chosen:
            yield from next(self._read(table, name, min(most, SURVEY) // len(chosen), [group]), [])

    def sources(self, rows: Sequence[int]) -> list[Source]:
        return self.by_row.sources(rows)

    @cached_property
    def by_row(self) -> HuggingFace:
        """The same pictures in an Arrow file of Hugging Face's cache: parquet can only be read a row group at a time."""
        return HuggingFace.from_parquet([self.root / name for name in self.files], self.column)

    def _read(self, table: pq.ParquetFile, name: str, size: int, groups: list[int] | None = None) -> Iterator[list[Source]]:
        import pyarrow as pa

        nested = pa.types.is_struct(self.schema.field(self.column).type)
        with reading(self.root / name):
            for batch in table.iter_batches(size, row_groups=groups, columns=[f"{self.column}.bytes" if nested else self.column]):
                column = batch.column(0)
                yield [value or b"" for value in (column.flatten()[0] if nested else column).to_pylist()]

    def values(self, column: str) -> list[Any]:
        values: list[Any] = []
        for table, name in zip(self.opened, self.files, strict=True):
            with reading(self.root / name):
                values += table.read([column]).column(0).to_pylist()
        return values

    def read_numbers(self, column: str) -> np.ndarray | None:
        import pyarrow as pa

        parts = []
        for table, name in zip(self.opened, self.files, strict=True):
            with reading(self.root / name):
                parts += table.read([column]).column(0).chunks
        return numbers_of_arrow(pa.chunked_array(parts, self.arrow_type(column)))

    def first_values(self, column: str) -> list[Any]:
        with reading(self.root / self.files[0]):
            return next((batch.column(0).to_pylist() for batch in self.opened[0].iter_batches(FIRST, columns=[column])), [])

    def column_names(self) -> list[str]:
        return list(self.schema.names)

    def arrow_type(self, column: str) -> pa.DataType:
        return self.schema.field(column).type

    def class_names(self, column: str) -> tuple[str, ...]:
        """From the schema's `huggingface` metadata; empty when it says nothing of this column."""
        try:
            features = json.loads((self.schema.metadata or {})[b"huggingface"])["info"]["features"]
            return tuple(str(name) for name in features[column].get("feature", features[column])["names"])
        except (KeyError, TypeError, ValueError, AttributeError):
            return ()
