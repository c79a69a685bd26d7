"""What a batch is made of: roles mapped to typed values, all of them batch-first."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor


class Rows(ABC):
    """Stands where a tensor of all samples would, and makes rows only when they are selected."""

    shape: torch.Size
    dtype: torch.dtype

    @abstractmethod
    def __getitem__(self, index: Tensor | slice) -> Tensor: ...

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def take(self, rows: np.ndarray) -> Rows:
        """These rows, still not made."""

    @property
    def nbytes(self) -> int:
        """What all rows would take, made."""
        return self.shape.numel() * self.dtype.itemsize

    def to(self, *_: object, **__: object) -> Self:
        """Itself: rows move when they have been selected."""
        return self


@dataclass(frozen=True, eq=False)
class Value:
    """One kind of input for many samples. Tensor fields share their first dimension (a large data set may hold `Rows` there until rows are selected);
    other fields hold for all samples."""

    modality: ClassVar[str]

    def tensors(self) -> dict[str, Any]:
        """Its fields with a row a sample: tensors, or `Rows`."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in fields.items() if isinstance(value, Tensor | Rows)}

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        return dataclasses.replace(self, **{name: function(tensor) for name, tensor in self.tensors().items()})

    def __len__(self) -> int:
        return len(next(iter(self.tensors().values())))

    @property
    def shape(self) -> tuple[torch.Size, ...]:
        """The shape of one sample's tensors."""
        return tuple(tensor.shape[1:] for tensor in self.tensors().values())

    def __getitem__(self, index: Tensor | slice) -> Self:
        return self.map(lambda tensor: tensor[index])

    def take(self, index: Tensor) -> Self:
        """The samples at these rows; what is only made when it is selected stays so."""
        return self.map(lambda tensor: tensor.take(index.numpy()) if isinstance(tensor, Rows) else tensor[index])

    def to(self, device: torch.device | str) -> Self:
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    @classmethod
    def cat(cls, values: Sequence[Self]) -> Self:
        names = values[0].tensors()
        return dataclasses.replace(values[0], **{name: torch.cat([v.tensors()[name] for v in values]) for name in names})


@dataclass(frozen=True, eq=False)
class Pixels(Value):
    """Pictures: (B, C, H, W), uint8 0-255 or float 0-1."""

    modality = "pixels"
    pixels: Tensor  # or Rows, until rows are selected

    def unit(self) -> Tensor:
        """(B, C, H, W) float32 in 0-1."""
        return self.pixels.float().div_(255) if self.pixels.dtype == torch.uint8 else self.pixels.float()


@dataclass(frozen=True, eq=False)
class Text(Value):
    """Text as it was written: (B,) `leaven.data.texts.Strings`."""

    modality = "text"
    texts: Any

    @classmethod
    def cat(cls, values: Sequence[Self]) -> Self:
        return cls(values[0].texts.cat([value.texts for value in values]))


@dataclass(frozen=True, eq=False)
class Tokens(Value):
    """Text in pieces: ids (B, T) int64; mask (B, T) bool, true where there is a token."""

    modality = "text"
    ids: Tensor  # or Rows, until rows are selected
    mask: Tensor

    def keys(self) -> Tensor:
        """(B,) int64: the same for the same tokens, and hardly ever for others."""
        powers = torch.full((self.ids.shape[1],), 0x5851F42D4C957F2D, device=self.ids.device).cumprod(0)  # modulo 2^64
        return ((self.ids + 1) * self.mask * powers).sum(1)


@dataclass(frozen=True, eq=False)
class Wave(Value):
    """Sound: samples (B, T) float; lengths (B,) int64; rate in Hz."""

    modality = "wave"
    samples: Tensor
    lengths: Tensor
    rate: float


@dataclass(frozen=True, eq=False)
class Signal(Value):
    """Signals of several channels: samples (B, C, T) float; mask (B, T) bool, true where there is signal; rate in Hz."""

    modality = "signal"
    samples: Tensor
    mask: Tensor
    rate: float


@dataclass(frozen=True, eq=False)
class Vector(Value):
    """Plain numbers: (B, D) float."""

    modality = "vector"
    numbers: Tensor


@dataclass(frozen=True, eq=False)
class Counts(Value):
    """How often each of some things occurs, such as words in a text: (B, D) float, 0 or more."""

    modality = "counts"
    counts: Tensor  # or Rows, until rows are selected

    def shares(self) -> Tensor:
        """(B, D) float32: of each sample's counts together; zeros for a sample without any."""
        counts = self.counts.float()
        return counts / counts.sum(1, keepdim=True).clamp(min=1e-12)


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples: each role's value; label (-1 = none), index in the data set and group (-1 = none), all (B,) int64."""

    roles: dict[str, Value]
    label: Tensor
    index: Tensor
    group: Tensor

    @classmethod
    def of(cls, *, label: Tensor | None = None, group: Tensor | None = None, **roles: Value) -> Batch:
        """A batch of all given samples, numbered from 0."""
        count = len(next(iter(roles.values())))
        none = torch.full((count,), -1, dtype=torch.int64)
        return cls(dict(roles), none if label is None else label, torch.arange(count), none if group is None else group)

    def __getitem__(self, role: str) -> Value:
        return self.roles[role]

    def __len__(self) -> int:
        return len(self.index)

    def select(self, index: Tensor) -> Batch:
        """The samples at these rows (int64 on the batch's own device)."""
        roles = {role: value[index] for role, value in self.roles.items()}
        return Batch(roles, self.label[index], self.index[index], self.group[index])

    def to(self, device: torch.device | str) -> Batch:
        roles = {role: value.to(device) for role, value in self.roles.items()}
        return Batch(roles, self.label.to(device), self.index.to(device), self.group.to(device))
