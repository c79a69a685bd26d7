"""Random views of a batch: what every kind of them shares, and which ones a method gets when it names none."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from leaven.draw import Draw
from leaven.errors import UserError
from leaven.modalities import Geometry, Value

KINDS: dict[str, type[Views]] = {}


@dataclass(frozen=True)
class Views(ABC):
    """Makes random views of a batch of one modality. The fields are the hyper-parameters; a subclass with a `kind` is registered under it."""

    kind: ClassVar[str]
    modality: ClassVar[str]
    aliases: ClassVar[dict[str, str]] = {}
    """Names that fields had before."""

    def __init_subclass__(cls, **keywords: Any):
        super().__init_subclass__(**keywords)
        if "kind" in cls.__dict__:
            KINDS[cls.kind] = cls

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):  # JSON has no tuples
                object.__setattr__(self, field.name, tuple(value))

    @abstractmethod
    def __call__(self, value: Value, draw: Draw) -> list[Value]:
        """The views, each with as many samples as `value`, in its order and on its device."""

    def with_geometry(self, value: Value, draw: Draw) -> tuple[list[Value], list[Geometry | None]]:
        """The views, and how each moved what lies in the samples (None: it moved nothing), for the `moved` of boxes and masks."""
        views = self(value, draw)
        return views, [None] * len(views)

    def fitted(self, shape: tuple[int, ...], patch: int) -> Views:
        """These views with what was left open chosen for an encoder: the shape of its input, the side of its patches (1: it has none)."""
        return self

    def to_dict(self) -> dict[str, Any]:
        """The hyper-parameters and the kind, ready for JSON."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {"kind": self.kind} | {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}

    @staticmethod
    def from_dict(config: dict[str, Any]) -> Views:
        """The inverse of `to_dict`; fields left out keep their defaults. UserError for an unknown kind or field."""
        kind = config.get("kind")
        if kind not in KINDS:
            raise UserError(f"no views of kind {kind!r}", where="views.kind", hint=f"choose from {', '.join(sorted(KINDS))}")
        return KINDS[kind]._build({name: value for name, value in config.items() if name != "kind"})

    @classmethod
    def _build(cls, arguments: dict[str, Any]) -> Self:
        arguments = {cls.aliases.get(name, name): value for name, value in arguments.items()}
        known = [field.name for field in dataclasses.fields(cls)]
        for name in arguments:
            if name not in known:
                raise UserError(f"{cls.kind} views have no parameter {name!r}", where=f"views.{name}", hint=f"choose from {', '.join(known)}")
        return cls(**arguments)

    def _expect(self, value: Value) -> None:
        if value.modality != self.modality:
            raise UserError(f"{self.kind} views are made of {self.modality}, not {value.modality}", where="views")

    def _require(self, name: str, holds: bool, rule: str) -> None:
        """UserError unless the field obeys its rule."""
        if not holds:
            raise UserError(f"{name} must be {rule}, not {getattr(self, name)}", where=f"views.{name}")

    def _require_count(self) -> None:
        count = getattr(self, "count", None)
        self._require("count", isinstance(count, int) and count >= 1, "a whole number from 1")

    def _require_probabilities(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            values = value if isinstance(value, tuple) else (value,)
            valid = len(values) > 0 and all(is_number(p) and 0 <= p <= 1 for p in values)
            self._require(name, valid, "a probability from 0 to 1" + (", one or more per view" if isinstance(value, tuple) else ""))


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
