"""What a claim of the field is here: trainings that differ in one thing, a rule written before they run, and what they say in the end."""

from __future__ import annotations

import statistics
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Int64
from torch import Tensor

from leaven.data import DataSet
from leaven.draw import Draw
from leaven.evaluation.comparison import difference, mean, points
from leaven.evaluation.intervals import seeds_interval
from leaven.evaluation.registry import percent
from leaven.methods.method import Method
from leaven.run import Run

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"


@dataclass(frozen=True)
class Arm:
    """One of the trainings that a claim compares. Length and batch are the claim's where they are not given.

    per_class: how many training samples of each class it sees, drawn anew for each seed (None: all there are); its batch is then the method's, or all
    of them where they are fewer.
    """

    method: str | type[Method]
    settings: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = None
    batch: int | None = None
    per_class: int | None = None
    encoder: str = "auto"


@dataclass(frozen=True)
class Cell:
    """One arm trained with one seed. scores, floors: as in a scorecard. metrics: the rows of its training."""

    arm: str
    seed: int
    scores: dict[str, Any]
    floors: dict[str, Any]
    run: Run

    @property
    def metrics(self) -> list[dict[str, Any]]:
        return self.run.metrics


@dataclass(frozen=True)
class Outcome:
    """holds, does not hold or undecided; and the figures that say so."""

    verdict: str
    because: str

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


class Found:
    """All cells of a claim. measures: what it measured itself, seed -> arm -> what -> number; arms there need no training of their own."""

    def __init__(self, cells: Sequence[Cell], measures: Mapping[int, Mapping[str, Mapping[str, float]]] | None = None):
        self.cells, self.measures = list(cells), dict(measures or {})
        self.arms = list(dict.fromkeys(cell.arm for cell in cells))
        self.seeds = list(dict.fromkeys(cell.seed for cell in cells))

    def of(self, arm: str) -> list[Cell]:
        return [cell for cell in self.cells if cell.arm == arm]

    def points(self, arm: str, protocol: str = "knn") -> list[dict[str, Any]]:
        """The arm's score of each seed, {accuracy, interval}."""
        return [cell.scores[protocol] for cell in self.of(arm)]

    def score(self, arm: str, protocol: str = "knn") -> dict[str, Any]:
        """{accuracy, interval} of an arm over seeds."""
        return mean(self.points(arm, protocol))

    def accuracy(self, arm: str, protocol: str = "knn") -> float:
        return statistics.fmean(point["accuracy"] for point in self.points(arm, protocol))

    def gain(self, arm: str, other: str, protocol: str = "knn") -> dict[str, Any]:
        """{accuracy, interval}: how much more the first arm scores, paired over seeds."""
        return difference(list(zip(self.points(arm, protocol), self.points(other, protocol), strict=True)))

    def numbers(self, arm: str, what: str) -> list[float]:
        """What the claim measured of an arm, a number for each seed."""
        return [measured[arm][what] for measured in self.measures.values()]

    def number(self, arm: str, what: str) -> dict[str, Any]:
        """{mean, interval, seeds} of what was measured; one seed gives no interval."""
        return over_seeds(self.numbers(arm, what))

    def gap(self, arm: str, other: str, what: str) -> dict[str, Any]:
        """{mean, interval, seeds}: how much larger what was measured is of the first arm, paired over seeds."""
        return over_seeds([first - second for first, second in zip(self.numbers(arm, what), self.numbers(other, what), strict=True)])

    def told(self, arm: str, other: str, protocol: str = "knn") -> str:
        """A gain in words: 61.2 % against 40.3 %, +20.9 (+18.0 to +23.8)."""
        gain = points(self.gain(arm, other, protocol))
        return f"{percent(self.score(arm, protocol))} against {percent(self.score(other, protocol))}, {gain} points"


def few(samples: DataSet, per_class: int, seed: int) -> Int64[Tensor, " rows"]:
    """So many training rows of each class (all, where there are fewer), drawn by the seed, in order."""
    train = samples.train()
    of_class = [train[samples.rows.label[train] == label] for label in range(samples.spec.classes)]
    drawn = [rows[Draw(seed, "few", label).permutations(len(rows), 1)[0][:per_class]] for label, rows in enumerate(of_class) if len(rows)]
    return torch.cat(drawn).sort().values


def over_seeds(values: Sequence[float]) -> dict[str, Any]:
    """{mean, interval, seeds} of numbers in any unit."""
    interval = list(seeds_interval(values)) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "interval": interval, "seeds": list(values)}


def sign(gain: Mapping[str, Any]) -> int:
    """1 or -1 where the whole interval of a gain lies on one side of zero, else 0; a single seed decides nothing."""
    if gain["interval"] is None:
        return 0
    low, high = gain["interval"]
    return 1 if low > 0 else -1 if high < 0 else 0


def decided(*gains: Mapping[str, Any]) -> str:
    """Holds where all gains are above zero with their intervals; fails where one is below with its interval; else undecided."""
    signs = [sign(gain) for gain in gains]
    return HOLDS if min(signs) == 1 else FAILS if min(signs) == -1 else UNDECIDED


class Claim(ABC):
    """A claim that anyone can check. A subclass is registered by being defined in this folder; its file is its name, with dashes.

    says: the claim, as a sentence. source: the paper and the place in it. rule: what will be called "holds" and what not.
    data: the named data set it is checked on. train, test: how many of its samples are used (all, if there are fewer). minutes: on two CPU cores.
    """

    name: ClassVar[str] = ""
    says: ClassVar[str]
    source: ClassVar[str]
    rule: ClassVar[str]
    data: ClassVar[str] = "cifar10"
    train: ClassVar[int] = 20_000
    test: ClassVar[int] = 5_000
    size: ClassVar[int | None] = None
    steps: ClassVar[int] = 200
    batch: ClassVar[int] = 256
    seeds: ClassVar[int] = 3
    minutes: ClassVar[int] = 30
    protocols: ClassVar[tuple[str, ...]] = ("knn",)
    labels_per_class: ClassVar[tuple[int, ...]] = ()
    """Of the few-label curves, where they are among the protocols."""
    floor_seconds: ClassVar[float] = 120.0
    """For training on the labels alone, the floor of few-label curves."""

    @abstractmethod
    def arms(self) -> dict[str, Arm]:
        """The trainings that are compared, by the words that tell them apart."""

    def given(self, root: str | Path | None) -> Any:
        """What the claim is checked on, as `open_data` takes it: the named data set, or data made here. root: where named data sets lie."""
        return self.data

    def measure(self, runs: Mapping[str, Run], samples: DataSet, seed: int) -> Mapping[str, Mapping[str, float]]:
        """What the claim measures itself, of the trainings of one seed: arm -> what -> number. Done once, and kept on disk.

        It may tell of arms without a training, such as PCA. Every arm has the same numbers.
        """
        return {}

    @abstractmethod
    def decide(self, found: Found) -> Outcome:
        """What the rule says of what was found."""

    @abstractmethod
    def figure(self, found: Found) -> Any:
        """A plotly figure of it."""


__all__ = ["FAILS", "HOLDS", "UNDECIDED", "Arm", "Cell", "Claim", "Found", "Outcome", "decided", "few", "over_seeds", "sign"]
