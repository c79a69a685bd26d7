"""Where samples came from, one name per sample, in one piece of memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


class Names(Sequence[str]):
    """File names as bytes in an Arrow column: names that are not UTF-8 stay what they are."""

    def __init__(self, column: pa.LargeBinaryArray):
        self.column = column

    @classmethod
    def of(cls, names: Iterable[str]) -> Names:
        import pyarrow as pa

        return names if isinstance(names, cls) else cls(pa.array([os.fsencode(name) for name in names], pa.large_binary()))

    def take(self, rows: np.ndarray) -> Names:
        return Names(self.column.take(rows))

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> Names: ...
    def __getitem__(self, row: int | slice) -> str | Names:
        return Names(self.column[row]) if isinstance(row, slice) else os.fsdecode(self.column[row].as_py())

    def __len__(self) -> int:
        return len(self.column)

    def __iter__(self) -> Iterator[str]:
        return map(os.fsdecode, self.column.to_pylist())

    def index(self, name: str, *_: Any) -> int:
        import pyarrow.compute as pc

        if (row := pc.index(self.column, os.fsencode(name)).as_py()) < 0:
            raise ValueError(f"{name!r} is no name")
        return row

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and not isinstance(other, str) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Names({list(self[:3])}, {len(self)} in all)"
