"""Data sets of the Hugging Face hub and library: read by row, since reading in order dies at the first broken picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leaven.data.sources.columns import FIRST, Columns
from leaven.data.sources.numbers import numbers_of_arrow
from leaven.errors import UserError
from leaven.modalities.content import digest
from leaven.modalities.picture_files import Source

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import pyarrow as pa


@dataclass(frozen=True, eq=False)
class HuggingFace(Columns):
    """Splits of one data set, one after another. root: its name."""

    files = ()

    root: str
    sets: dict[str, datasets.Dataset]
    column: str = ""

    @classmethod
    def load(cls, name: str) -> HuggingFace:
        """`owner/name` or `owner/name:configuration` from the hub (or its cache), or a folder. Raises UserError when it is not to be had."""
        import datasets

        path, _, configuration = name.partition(":")
        try:
            return cls.of(f"hf:{name}", datasets.load_dataset(path, configuration or None))
        except UserError:
            raise
        except Exception as error:  # from the network, the hub, its loaders or the files
            why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            hint = "names are hf:owner/name or hf:owner/name:configuration; without a network, only what was fetched before can be opened"
            raise UserError(f"this data set cannot be fetched: {why}", where=f"hf:{name}", hint=hint) from error

    @classmethod
    def from_disk(cls, folder: Path) -> HuggingFace:
        """A folder that `save_to_disk` made."""
        import datasets

        try:
            return cls.of(folder.name, datasets.load_from_disk(str(folder)))
        except (OSError, ValueError, KeyError, TypeError) as error:
            hint = "save it again with save_to_disk"
            raise UserError(f"this Hugging Face data set cannot be read: {error}", where=folder, hint=hint) from error

    @classmethod
    def from_parquet(cls, files: Sequence[Path], column: str) -> HuggingFace:
        import datasets

        table = datasets.load_dataset("parquet", data_files=[str(file) for file in files], split="train")
        return cls(str(files[0].parent), {"train": table}, column)

    @classmethod
    def of(cls, name: str, data: Any) -> HuggingFace:
        """From a Dataset or a DatasetDict. Raises UserError for one that can only be read in order."""
        import datasets

        parts = data if isinstance(data, dict) else {str(data.split or "all"): data}
        if any(not isinstance(part, datasets.Dataset) for part in parts.values()):
            raise UserError("a streamed data set cannot be read by row", where=name, hint="load it with streaming=False")
        return cls(name, dict(parts))

    @staticmethod
    def saved_in(folder: Path) -> bool:
        return (folder / "dataset_dict.json").is_file() or ((folder / "state.json").is_file() and (folder / "dataset_info.json").is_file())

    @property
    def first(self) -> datasets.Dataset:
        return next(iter(self.sets.values()))

    @property
    def parts(self) -> dict[str, int]:
        return {split: len(rows) for split, rows in self.sets.items()}

    def split_of_part(self, part: str) -> str | None:
        """A split's own name."""
        return part

    @cached_property
    def undecoded(self) -> datasets.Dataset:
        """The pictures or sounds of all splits, as bytes and paths."""
        import datasets

        parts = [part.select_columns([self.column]) for part in self.sets.values()]
        for kind in (datasets.Image, datasets.Audio):
            if isinstance(self.first.features[self.column], kind):
                parts = [part.cast_column(self.column, kind(decode=False)) for part in parts]
        return datasets.concatenate_datasets(parts)

    def bytes_hold(self, column: str) -> str:
        import datasets

        known = {datasets.Image: "pictures", datasets.Audio: "sounds"}
        return next((holds for kind, holds in known.items() if isinstance(self.first.features[column], kind)), None) or super().bytes_hold(column)

    def first_values(self, column: str) -> list[Any]:
        values: list[Any] = self.first.select_columns([column]).with_format("arrow")[:FIRST].column(0).to_pylist()
        return values

    def identity(self) -> str:
        return digest((self.root, self.column, *((split, len(part), part._fingerprint) for split, part in self.sets.items())))

    def sources(self, rows: Sequence[int]) -> list[Source]:
        return [as_source(value) for value in self.undecoded[list(rows)][self.column]]

    def column_names(self) -> list[str]:
        return list(self.first.column_names)

    def arrow_type(self, column: str) -> pa.DataType:
        return self.first.features.arrow_schema.field(column).type

    def class_names(self, column: str) -> Sequence[str]:
        feature = self.first.features[column]
        return getattr(getattr(feature, "feature", feature), "names", None) or ()

    def values(self, column: str) -> list[Any]:
        return [value for part in self.sets.values() for value in part.select_columns([column])[:][column]]

    def read_numbers(self, column: str) -> np.ndarray | None:
        import pyarrow as pa

        parts = [part.select_columns([column]).with_format("arrow")[:].column(0) for part in self.sets.values()]
        return numbers_of_arrow(pa.chunked_array([chunk for part in parts for chunk in part.chunks], self.arrow_type(column)))


def as_source(value: Any) -> Source:
    """The bytes, or the path where there are none."""
    if isinstance(value, dict):
        return value["bytes"] or (Path(value["path"]) if value.get("path") else b"")
    return value or b""


def is_from_the_library(source: Any) -> bool:
    """Whether this is an object of the `datasets` library, which is imported if so."""
    return type(source).__module__.partition(".")[0] == "datasets"
