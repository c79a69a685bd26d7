"""Many samples of one kind of data: the typed values that a batch is made of."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor


class LazyTensor(ABC):
    """Stands where a tensor of all samples would, and computes samples only when they are selected."""

    shape: torch.Size
    dtype: torch.dtype
    costly: ClassVar[bool] = False
    """Whether computing samples takes much longer than copying them."""

    @abstractmethod
    def __getitem__(self, index: Tensor | slice) -> Tensor: ...

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def take(self, index: np.ndarray) -> LazyTensor:
        """These samples, not computed yet."""

    @property
    def nbytes(self) -> int:
        """Bytes of all samples, once computed."""
        return self.shape.numel() * self.dtype.itemsize

    def to(self, *_: object, **__: object) -> Self:
        """Itself: samples move to a device after they are selected."""
        return self


@dataclass(frozen=True, eq=False)
class Value:
    """Samples of one modality. Tensor fields share their first dimension, one entry for each sample (in a large data set a `LazyTensor` may stand
    there until samples are selected); other fields hold for all samples."""

    modality: ClassVar[str]

    def tensors(self) -> dict[str, Any]:
        """The fields with one entry for each sample: tensors, or `LazyTensor`s."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in fields.items() if isinstance(value, Tensor | LazyTensor)}

    @property
    def main(self) -> Any:
        """The first of these fields: what networks read."""
        return next(iter(self.tensors().values()))

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        return dataclasses.replace(self, **{name: function(tensor) for name, tensor in self.tensors().items()})

    def __len__(self) -> int:
        return len(self.main)

    @property
    def shape(self) -> tuple[torch.Size, ...]:
        """The shape of each tensor of one sample."""
        return tuple(tensor.shape[1:] for tensor in self.tensors().values())

    @property
    def lazy(self) -> bool:
        """Whether samples are computed when they are selected."""
        return any(isinstance(tensor, LazyTensor) for tensor in self.tensors().values())

    def __getitem__(self, index: Tensor | slice) -> Self:
        return self.map(lambda tensor: tensor[index])

    def take(self, index: Tensor) -> Self:
        """The samples at these places; lazy tensors stay lazy."""
        return self.map(lambda tensor: tensor.take(index.numpy()) if isinstance(tensor, LazyTensor) else tensor[index])

    def to(self, device: torch.device | str) -> Self:
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def keys(self) -> Tensor:
        """(B,) int64: the same for samples of the same content, and hardly ever for others."""
        keys = torch.zeros(len(self), dtype=torch.int64, device=self.main.device)
        for tensor in self.tensors().values():
            whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
            numbers = tensor.reshape(len(self), -1).view(whole).long() + 1
            powers = torch.full((numbers.shape[1],), 0x5851F42D4C957F2D, device=keys.device).cumprod(0)  # modulo 2^64
            keys = keys * 31 + (numbers * powers).sum(1)
        return keys

    @classmethod
    def cat(cls, values: Sequence[Self]) -> Self:
        names = values[0].tensors()
        return dataclasses.replace(values[0], **{name: torch.cat([v.tensors()[name] for v in values]) for name in names})
