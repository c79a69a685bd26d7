"""What samples lie somewhere, and how they are read: the common face of folders, tables and Hugging Face data sets."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from leaven.data.labels import Labels
from leaven.modalities.picture_files import Source


class Listing(Protocol):
    """Samples in a fixed order.

    root: where they lie, for messages. names: one per sample. kind: "pictures", "text" or "numbers".
    """

    @property
    def root(self) -> Path | str: ...
    @property
    def names(self) -> Sequence[str]: ...

    @property
    def kind(self) -> str: ...

    def splits(self) -> list[str | None]:
        """Each sample's split, where it is known."""

    def labels(self, spec: str | Path | None) -> Labels:
        """The labels that `spec` asks for; None: what is plain."""

    def groups(self) -> Tensor:
        """(N,) int64: which samples belong together (one patient, one video), -1 = none."""


class Contents(Listing, Protocol):
    """Texts or numbers."""

    def contents(self) -> list[Any]:
        """All of them, in order."""


class Pictures(Listing, Protocol):
    """Pictures, which are read when they are needed."""

    def identity(self) -> str:
        """A text that changes with the pictures."""

    def chunks(self, size: int) -> Iterator[list[Source]]:
        """All pictures in order, up to `size` at a time."""

    def sample(self, most: int = ...) -> Iterator[Source]:
        """Up to so many pictures (512 unless said), spread over the listing; a table reads no more than that."""

    def sources(self, rows: Sequence[int]) -> list[Source]:
        """The pictures of these rows."""
