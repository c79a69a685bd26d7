"""What a batch is made of: roles mapped to typed values, all of them batch-first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from leaven.modalities import Label, Naming, Value, modality_of
from leaven.modalities.content import content_hash

TAGS = "tags"


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples: each role's value; label (-1 = none), index in the data set and group (-1 = none), all (B,) int64.

    The role "label" is always there; other targets, such as tags, boxes and masks, stand among `roles`.
    """

    roles: dict[str, Value]
    label: Tensor
    index: Tensor
    group: Tensor

    @classmethod
    def of(cls, *, label: Tensor | None = None, group: Tensor | None = None, **roles: Value) -> Batch:
        """A batch of all these samples, numbered from 0."""
        count = len(next(iter(roles.values())))
        none = torch.full((count,), -1, dtype=torch.int64)
        return cls(dict(roles), none if label is None else label, torch.arange(count), none if group is None else group)

    def __getitem__(self, role: str) -> Value:
        return Label(self.label) if role == "label" else self.roles[role]

    def __len__(self) -> int:
        return len(self.index)

    @property
    def inputs(self) -> dict[str, Value]:
        """The roles that are no target."""
        return {role: value for role, value in self.roles.items() if not modality_of(value).target}

    @property
    def named(self) -> Value:
        """What names the samples: their tags where they have tags, else their classes."""
        return self.roles[TAGS] if TAGS in self.roles and isinstance(modality_of(self.roles[TAGS]), Naming) else Label(self.label)

    @property
    def naming(self) -> Naming:
        """The modality of what names the samples."""
        return cast(Naming, modality_of(self.named))

    @property
    def labeled(self) -> Tensor:
        """(B,) bool: which samples have a label: a class, tags, or what lies in them."""
        if any(modality_of(value).target and modality_of(value).placed for value in self.roles.values()):
            return torch.ones_like(self.label, dtype=torch.bool)
        return self.naming.known(self.named.main)

    @property
    def nbytes(self) -> int:
        """Bytes of all samples as they are stored, without their labels."""
        return sum(tensor.nbytes for value in self.roles.values() for tensor in value.tensors().values())

    def select(self, index: Tensor) -> Batch:
        """The samples at these places (int64 on the batch's own device)."""
        roles = {role: value[index] for role, value in self.roles.items()}
        return Batch(roles, self.label[index], self.index[index], self.group[index])

    def take(self, index: Tensor) -> Batch:
        """The same on the CPU; what is computed when it is selected stays so."""
        roles = {role: value.take(index) for role, value in self.roles.items()}
        return Batch(roles, self.label[index], self.index[index], self.group[index])

    def to(self, device: torch.device | str) -> Batch:
        roles = {role: value.to(device) for role, value in self.roles.items()}
        return Batch(roles, self.label.to(device), self.index.to(device), self.group.to(device))


def content_hashes(roles: Mapping[str, Value]) -> Tensor:
    """(N,) int64: one hash for each sample, over its inputs in the order of their names (over its targets where there are only targets)."""
    inputs = {role: value for role, value in roles.items() if not modality_of(value).target} or roles
    contents = zip(*(modality_of(value).sample_bytes(value) for _, value in sorted(inputs.items())), strict=True)
    return torch.tensor([content_hash(*(part for parts in sample for part in parts)) for sample in contents], dtype=torch.int64)
