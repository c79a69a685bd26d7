"""Random views of a batch: what every kind of them shares, and which ones a method gets when it names none."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from leaven.draw import Draw
from leaven.errors import UserError
from leaven.modalities import Geometry, Value, find_modality

KINDS: dict[str, type[Views]] = {}
SIMILAR = {"byol": "contrast", "multicrop": "contrast", "strong": "contrast", "reconstruction": "plain", "labels": "plain"}
"""The purpose whose views serve another one in a modality that has none of its own for it."""


@dataclass(frozen=True)
class Views:
    """Makes random views of a batch of one modality. The fields are the hyper-parameters; a subclass with a `kind` is registered under it."""

    kind: ClassVar[str]
    modality: ClassVar[str]
    aliases: ClassVar[dict[str, str]] = {}
    """Names that fields had before."""

    count: int = 2

    def __init_subclass__(cls, **keywords: Any):
        super().__init_subclass__(**keywords)
        if "kind" in cls.__dict__:
            KINDS[cls.kind] = cls

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):  # JSON has no tuples
                object.__setattr__(self, field.name, tuple(value))
        self._require_whole("count", 1)

    def __call__(self, value: Value, draw: Draw) -> list[Value]:
        """`count` views, each with as many samples as `value`, in its order and on its device."""
        self._expect(value)
        with torch.no_grad():
            return [self.view(value, number, draw) for number in range(self.count)]

    def view(self, value: Any, number: int, draw: Draw) -> Value:
        raise NotImplementedError

    def with_geometry(self, value: Value, draw: Draw) -> tuple[list[Value], list[Geometry | None]]:
        """The views, and how each moved what lies in the samples (None: it moved nothing), for the `moved` of boxes and masks."""
        views = self(value, draw)
        return views, [None] * len(views)

    def fitted(self, shape: tuple[int, ...], patch: int) -> Views:
        """These views with what was left open chosen for an encoder: the shape of its input, the side of its patches (1: it has none)."""
        return self

    def scaled(self, mean: Sequence[float], std: Sequence[float]) -> Views:
        """These views for numbers of this mean and deviation in each dimension (vectors) or channel; empty where they are not known."""
        return self

    def for_encoder(self, encoder: Any) -> Views:
        """These views as an encoder takes them."""
        return self.fitted(encoder.input.shape, getattr(encoder, "patch", 1)).scaled(encoder.input.mean, encoder.input.std)

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
        views = KINDS[kind]
        arguments = {views.aliases.get(name, name): value for name, value in config.items() if name != "kind"}
        known = [field.name for field in dataclasses.fields(views)]
        for name in arguments:
            if name not in known:
                raise UserError(f"{kind} views have no parameter {name!r}", where=f"views.{name}", hint=f"choose from {', '.join(known)}")
        return views(**arguments)

    def suits(self, value: Value) -> bool:
        """Whether these are views of such samples."""
        return value.modality == self.modality

    def _expect(self, value: Value) -> None:
        if not self.suits(value):
            raise UserError(f"{self.kind} views are made of {self.modality}, not {value.modality}", where="views")

    def _require(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise UserError(f"{name} must be {rule}, not {getattr(self, name)}", where=f"views.{name}")

    def _require_whole(self, name: str, low: int) -> None:
        value = getattr(self, name)
        self._require(name, isinstance(value, int) and value >= low, f"a whole number from {low}")

    def _require_not_negative(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            self._require(name, is_number(value) and value >= 0, "a number from 0")

    def _require_areas(self, low: str, high: str) -> None:
        """Two shares of a picture's area, the smaller first."""
        for name, limit, largest in ((high, "1", 1), (low, f"{high} = {getattr(self, high)}", getattr(self, high))):
            value = getattr(self, name)
            self._require(name, is_number(value) and 0 < value <= largest, f"above 0 and at most {limit}")

    def _require_pixels(self, name: str) -> None:
        value = getattr(self, name)
        self._require(name, value is None or (isinstance(value, int) and 1 <= value <= 10_000), "a number of pixels up to 10,000, or left out")

    def _require_probabilities(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            values = value if isinstance(value, tuple) else (value,)
            valid = len(values) > 0 and all(is_number(p) and 0 <= p <= 1 for p in values)
            self._require(name, valid, "a probability from 0 to 1" + (", one or more per view" if isinstance(value, tuple) else ""))


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def views_for(purpose: str, modality: str) -> Mapping[str, Any] | None:
    """The kind and the settings of the usual views of one modality for a purpose; None where there are none."""
    usual = find_modality(modality).views
    return usual.get(purpose) or usual.get(SIMILAR.get(purpose, ""))


def default_views(purpose: str, modality: str) -> Views:
    """The usual views of one modality for "contrast", "byol", "multicrop" (several views each), "reconstruction", "labels" or "plain" (one view).

    Raises UserError where there are none.
    """
    settings = views_for(purpose, modality)
    if settings is None:
        usual = ", ".join(find_modality(modality).views) or "nothing"
        raise UserError(f"no default views of {modality} for {purpose!r}", where="views", hint=f"there are some for {usual}")
    return Views.from_dict(dict(settings))
