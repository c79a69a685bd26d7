"""What is known of inputs and of a data set before any network is built."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class InputSpec:
    """One role's input.

    shape: of one sample without the batch: (C, H, W) pixels, (D,) vector or counts, (T,) tokens (at most) or wave, (C, T) signal; () text that is not
        in tokens yet.
    mean, std: statistics of the training split (a channel each for pixels, in 0-1; a dimension each for vectors,
        and for counts as they are). The deviation of what is constant is 1: it becomes 0 when it is normalised.
    range: the smallest and the largest number of the training split (vectors only).
    vocabulary: number of token ids; special: those of "pad", "unknown", "begin", "end" and "mask", where there are such (tokens only).
    rate: Hz (wave and signal only).
    """

    modality: str
    shape: tuple[int, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    range: tuple[float, float] | None = None
    vocabulary: int | None = None
    special: dict[str, int] = field(default_factory=dict)
    rate: float | None = None

    @property
    def words(self) -> int:
        """Of counts: how many a sample has together, on average over the training split; at least 1."""
        return max(1, round(sum(self.mean)))

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> InputSpec:
        fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}
        return cls(**fields)


@dataclass(frozen=True)
class DataSpec:
    """A data set: how many samples, their roles, how many classes (0 without labels) and how many samples have a label."""

    samples: int
    roles: dict[str, InputSpec]
    classes: int = 0
    labeled: int = 0
    class_names: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> DataSpec:
        roles = {role: InputSpec.from_dict(spec) for role, spec in stored["roles"].items()}
        return cls(stored["samples"], roles, stored["classes"], stored["labeled"], tuple(stored["class_names"]))
