"""What training takes away from pictures that may matter in them: left and right, colour, detail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from leaven.data import DataSet
from leaven.inspection.chirality import mirrored_accuracy
from leaven.inspection.colour import colour_twins
from leaven.inspection.detail import MUCH, Detail, detail_lost
from leaven.inspection.originals import originals
from leaven.methods.method import Method
from leaven.modalities import modality_of
from leaven.views.views import default_views, views_for

TOLD = 0.55  # accuracy that the lower end of the interval must pass before mirroring is spoken of
SURE = 0.9  # accuracy from which `inspect` advises a training without it
TWINS = 0.05  # share of pictures with a twin of another colour before colours are spoken of
FLIP, COLOURS = ("flip",), ("jitter", "grey")


@dataclass(frozen=True)
class TakenAway:
    """mirrored: how often a probe tells mirrored pictures from originals, and the lower end of the 95 % interval (see `mirrored_accuracy`). twins:
    see `colour_twins`. detail: see `detail_lost`. What was not measured is None."""

    mirrored: tuple[float, float] | None = None
    twins: float | None = None
    detail: Detail | None = None

    @classmethod
    def of(cls, data: DataSet, role: str, method: type[Method] | None, settings: Mapping[str, Any] | None, size: int | None) -> TakenAway:
        """Of the pictures of a role, by what this method's views do (None: by anything). size: that training is asked to read."""
        spec = data.spec.roles[role]

        def asked(names: tuple[str, ...]) -> bool:
            return method is None or bool(changes(method, spec.modality, settings, names))

        side = modality_of(spec).training_input(spec, size).shape[1]
        return cls(
            mirrored_accuracy(data, role) if asked(FLIP) else None,
            colour_twins(data, role) if asked(COLOURS) else None,
            detail_lost(originals(data), spec, side),
        )

    def lines(self, method: type[Method] | None, modality: str, settings: Mapping[str, Any] | None) -> list[str]:
        """What a user should know before training; empty where nothing speaks against the usual views and size."""
        lines = []
        flips, colours = ((changes(method, modality, settings, names) if method else list(names)) for names in (FLIP, COLOURS))
        if flips and self.mirrored is not None and self.mirrored[1] >= TOLD:
            told = f"mirrored pictures can be told from originals ({100 * self.mirrored[0]:.0f} %)"
            lines.append(f"{told}: where left and right matter, set {switched_off(flips)}")
        if colours and self.twins is not None and self.twins >= TWINS:
            alike = f"{100 * self.twins:.0f} % of the pictures differ from another one in colour alone"
            lines.append(f"{alike}: where colour matters, set {switched_off(colours)}")
        if self.detail is not None and self.detail.lost >= MUCH:
            gone = f"at {self.detail.side} pixels, {100 * self.detail.lost:.0f} % of what varies within these pictures is gone"
            keep = f"--size {self.detail.enough} keeps it" if self.detail.enough else "cut the pictures into pieces"
            lines.append(f"{gone}, because things in them are small: {keep}")
        return lines

    def advised(self, method: type[Method], modality: str, settings: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """The settings to train with: without mirroring, where mirrored pictures are plainly others."""
        flips = changes(method, modality, settings, FLIP)
        sure = self.mirrored is not None and self.mirrored[0] >= SURE and flips
        return {**(settings or {}), **{f"views.{name}": 0 for name in flips}} if sure else settings

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "mirrored": None if self.mirrored is None else round(self.mirrored[0], 4),
            "colour_twins": None if self.twins is None else round(self.twins, 4),
            "detail": None if self.detail is None else {**asdict(self.detail), "lost": round(self.detail.lost, 4)},
        }


def changes(method: type[Method], modality: str, settings: Mapping[str, Any] | None, names: tuple[str, ...]) -> list[str]:
    """Which of these settings of a method's usual views change a modality's samples; none where the user has set one of them."""
    if not method.purpose or views_for(method.purpose, modality) is None or any(f"views.{name}" in (settings or {}) for name in names):
        return []
    usual = default_views(method.purpose, modality)
    return [name for name in names if getattr(usual, name, 0)]


def switched_off(names: list[str]) -> str:
    return ", ".join(f"views.{name}=0" for name in names)
