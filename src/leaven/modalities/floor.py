"""What floors are called: in a scorecard, in a table, and within a sentence."""

from __future__ import annotations

from dataclasses import dataclass

FLOORS: dict[str, FloorName] = {}
"""Every floor by its name; each registers itself by being declared."""


@dataclass(frozen=True)
class FloorName:
    """Something that a score should beat. name: in scorecard.json. title: in a table. phrase: within a sentence ("better than ...")."""

    name: str
    title: str
    phrase: str

    def __post_init__(self) -> None:
        FLOORS[self.name] = self


def floor_title(name: str) -> str:
    """The title of a floor; of one that is not declared (such as "pca 256", or of an untrained encoder by its name), the name."""
    return FLOORS[name].title if name in FLOORS else name


def floor_phrase(name: str) -> str:
    """The same, within a sentence."""
    return FLOORS[name].phrase if name in FLOORS else name


INPUT = FloorName("input", "raw input", "the raw input")
