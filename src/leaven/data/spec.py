"""What is known of a data set before any network is built."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from leaven.modalities import InputSpec, modality_of


@dataclass(frozen=True)
class DataSpec:
    """A data set: how many samples, their roles, how many classes (0 without labels, or with tags) and how many samples have a label: a class, or
    tags, whose names are `tag_names`."""

    samples: int
    roles: dict[str, InputSpec]
    classes: int = 0
    labeled: int = 0
    class_names: tuple[str, ...] = field(default=())
    tag_names: tuple[str, ...] = field(default=())

    @property
    def inputs(self) -> dict[str, InputSpec]:
        """The roles that are no target, such as a mask."""
        return {role: spec for role, spec in self.roles.items() if not modality_of(spec).target}

    @property
    def names(self) -> tuple[str, ...]:
        """Of the tags where samples have tags, else of the classes."""
        return self.tag_names or self.class_names

    def roles_like(self, input: InputSpec) -> list[str]:
        """The roles of the same modality as an encoder's input."""
        return [role for role, spec in self.roles.items() if spec.modality == input.modality]

    def to_dict(self) -> dict[str, Any]:
        plain = {**dataclasses.asdict(self), "roles": {role: spec.to_dict() for role, spec in self.roles.items()}}
        return plain if self.tag_names else {name: value for name, value in plain.items() if name != "tag_names"}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> DataSpec:
        roles = {role: InputSpec.from_dict(spec) for role, spec in stored["roles"].items()}
        names = tuple(stored["class_names"]), tuple(stored.get("tag_names", ()))
        return cls(stored["samples"], roles, stored["classes"], stored["labeled"], *names)
