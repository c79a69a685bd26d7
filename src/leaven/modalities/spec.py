"""What is known of one input before any network is built."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class InputSpec:
    """One role's input.

    shape: of one sample without the batch: (C, H, W) pixels, (D,) vector or counts, (T,) tokens (at most) or wave, (C, T) signal; () text that is not
        in tokens yet.
    mean, std: statistics of the training split (one for each channel of pixels, in 0-1; one for each dimension of vectors and counts). The deviation
        of what is constant is 1: it becomes 0 when it is normalised.
    range: the smallest and the largest number of the training split (vectors only).
    vocabulary: number of token ids; special: the ids of "pad", "unknown", "begin", "end" and "mask", where they exist (tokens only).
    rate: Hz (wave and signal only).
    reading: how files were read, where that is to be the same again: arguments of `open_data`.
    """

    modality: str
    shape: tuple[int, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    range: tuple[float, float] | None = None
    vocabulary: int | None = None
    special: dict[str, int] = field(default_factory=dict)
    rate: float | None = None
    reading: dict[str, Any] = field(default_factory=dict)

    @property
    def planar(self) -> bool:
        """Whether a sample has channels over a height and a width, which convolutions can read."""
        return len(self.shape) == 3

    @property
    def words(self) -> int:
        """Of counts: the sum of a sample, on average over the training split; at least 1."""
        return max(1, round(sum(self.mean)))

    def to_dict(self) -> dict[str, Any]:
        stored = dataclasses.asdict(self)
        return stored if self.reading else {name: value for name, value in stored.items() if name != "reading"}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> InputSpec:
        fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}
        return cls(**fields)
