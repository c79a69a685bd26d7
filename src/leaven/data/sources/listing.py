"""The samples that lie somewhere, and how they are read: the common face of folders, tables and Hugging Face data sets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leaven.data.labels import LabelReading, Labels
from leaven.modalities import Value, modality_of
from leaven.modalities.content import evenly_spaced
from leaven.modalities.decoding import SURVEY
from leaven.modalities.picture_files import Source


class Listing(ABC):
    """Samples in a fixed order: pictures, which are read when they are needed, or texts or numbers.

    root: where they lie, for messages. names: one per sample. kind: "pictures", "text", "numbers", "sounds" or "signals". faults: row -> why it
    cannot be used, as far as that is known before the samples are read. notes: what is unusual about how they are read.
    """

    root: Path | str
    names: Sequence[str]
    kind: str
    faults: Mapping[int, str] = MappingProxyType({})
    notes: tuple[str, ...] = ()

    @abstractmethod
    def splits(self) -> list[str | None]:
        """Each sample's split, where it is known."""

    @abstractmethod
    def labels(self, spec: str | Path | None, how: LabelReading | None = None) -> Labels:
        """The labels that `spec` asks for; None: what is plain. how: they are read."""

    def groups(self) -> Tensor:
        """(N,) int64: which samples belong together (one patient, one video), -1 = none."""
        return Labels.none(len(self.names)).ids

    def group_names(self) -> tuple[str, ...]:
        """What groups are called, by their numbers; those beyond have no names of their own."""
        return ()

    def group_notes(self) -> tuple[str, ...]:
        """How these groups were chosen, for the user."""
        return ()

    def kept_together(self, groups: Tensor) -> Tensor:
        """These groups, with what belongs together whatever else does."""
        return groups

    def files_of_samples(self) -> Sequence[str]:
        """The file in which each sample is."""
        return self.names

    def part_name(self, row: int, place: int, rate: float) -> str:
        """What a part of a recording is called that begins with this sample."""
        return f"{self.names[row]}#{place / rate:.6g}s"

    def column_of(self, name: str) -> list[Any] | None:
        """A column that says something of each sample; None where there is none."""
        return None

    def about(self, name: str) -> list[Any] | None:
        """What is known of each sample by this name: in a column, by the folders, or the file itself."""
        return list(self.files_of_samples()) if name in ("file", "recording") else self.column_of(name)

    def known_names(self) -> list[str]:
        """The names that `about` takes."""
        return ["file"]

    def contents(self) -> list[Any]:
        """All texts or numbers, in order."""
        raise NotImplementedError

    def identity(self) -> str:
        """A text that changes with the pictures."""
        raise NotImplementedError

    def sources(self, rows: Sequence[int]) -> list[Any]:
        """The pictures or recordings of these rows: files, or what they hold."""
        raise NotImplementedError

    def chunks(self, size: int) -> Iterator[list[Source]]:
        """All pictures in order, up to `size` at a time."""
        rows = range(len(self.names))
        return (self.sources(rows[start : start + size]) for start in rows[::size])

    def sample(self, most: int = SURVEY) -> Iterator[Source]:
        """Up to so many pictures, spread over the listing; a table reads no more than 512."""
        return iter(self.sources(evenly_spaced(len(self.names), most).tolist()))


@dataclass(frozen=True, eq=False)
class Part:
    """What plays one role: the samples that can be used, their rows, why the other rows cannot, where they are
    known the samples' hashes, and what is unusual about how they were read."""

    value: Value
    kept: np.ndarray
    broken: Sequence[tuple[int, str]] = ()
    hashes: Tensor | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of_array(cls, value: Value, broken: Sequence[tuple[int, str]] = ()) -> Part:
        """All samples but those that say nothing. broken: the rows that the value lacks, and why."""
        rows = np.delete(np.arange(len(value) + len(broken)), [row for row, _ in broken])
        empty, why = modality_of(value).empty(value) or (torch.zeros(len(value), dtype=torch.bool), "")
        if not empty.any():
            return cls(value, rows, broken)
        return cls(value.take((~empty).nonzero().flatten()), rows[~empty.numpy()], [*broken, *((row, why) for row in rows[empty.numpy()].tolist())])

    @property
    def total(self) -> int:
        """How many rows there are, broken ones included."""
        return len(self.kept) + len(self.broken)

    def at(self, rows: np.ndarray) -> Part:
        """The samples of these rows, all of which can be used."""
        place = torch.from_numpy(np.searchsorted(self.kept, rows))
        value = self.value if len(self.kept) == len(rows) else self.value.take(place)
        return Part(value, rows, hashes=None if self.hashes is None else self.hashes[place])
