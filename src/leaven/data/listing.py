"""What pictures lie somewhere, and how they are read: the common face of folders, tables and Hugging Face data sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor

from leaven.data.labels import Labels
from leaven.data.pictures import Source


class Listing(Protocol):
    """Pictures in a fixed order.

    root: where they lie, for messages. names: one a picture, unique.
    """

    @property
    def root(self) -> Path | str: ...
    @property
    def names(self) -> Sequence[str]: ...

    def identity(self) -> str:
        """A text that changes with the pictures."""

    def chunks(self, size: int) -> Iterator[list[Source]]:
        """All pictures in order, up to `size` at a time."""

    def sample(self) -> Iterator[Source]:
        """Up to 512 pictures, spread over the listing."""

    def sources(self, rows: Sequence[int]) -> list[Source]:
        """The pictures of these rows."""

    def splits(self) -> list[str | None]:
        """Each picture's split, where it is known."""

    def labels(self, spec: str | Path | None) -> Labels:
        """The labels that `spec` asks for; None: what is plain."""

    def groups(self) -> Tensor:
        """(N,) int64: which pictures belong together (one patient, one video), -1 = none."""
