"""What a claim of the field is here: trainings that differ in one thing, a rule written before they run, and what they say in the end."""

import statistics
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from leaven.data import DataSet
from leaven.draw import Draw
from leaven.evaluation.abilities import new_samples
from leaven.evaluation.frozen import Features
from leaven.evaluation.protocols.retrieval import Retrieval
from leaven.evaluation.registry import percent
from leaven.evaluation.results import Cell, Results, difference, mean_of_numbers, points
from leaven.methods.method import Method
from leaven.modalities import modality_of
from leaven.report.reproduction import bar_figure
from leaven.run import Run
from leaven.training.devices import choose_device
from leaven.training.trained import trained_method

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
PRECISION = "mean average precision"


@dataclass(frozen=True)
class Arm:
    """One of the trainings that a claim compares. Length and batch are the claim's where an arm does not say its own.

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
class Outcome:
    """holds, does not hold or undecided; and the figures that say so."""

    verdict: str
    because: str


class Findings(Results):
    """All cells of a claim. measures: what it measured itself, seed -> arm -> what -> number; arms there need no training of their own."""

    def __init__(self, cells: Sequence[Cell], measures: Mapping[int, Mapping[str, Mapping[str, float]]]):
        self.cells, self.measures = list(cells), measures

    def score(self, arm: str, protocol: str = "knn") -> dict[str, Any]:
        """{accuracy, interval} of an arm over seeds."""
        return self.scores(arm)[protocol]

    def accuracies(self, arm: str, protocol: str = "knn") -> list[float]:
        """One per seed."""
        return [cell.scores[protocol]["accuracy"] for cell in self.cells_of(arm)]

    def accuracy(self, arm: str, protocol: str = "knn") -> float:
        return statistics.fmean(self.accuracies(arm, protocol))

    def numbers(self, arm: str, measure: str) -> list[float]:
        """What the claim measured of an arm, one number per seed."""
        return [of_arms[arm][measure] for of_arms in self.measures.values()]

    def number(self, arm: str, measure: str) -> dict[str, Any]:
        """{mean, interval, seeds} of what was measured; one seed gives no interval."""
        return mean_of_numbers(self.numbers(arm, measure))

    def gain(self, arm: str, other: str, what: str = "knn") -> dict[str, Any]:
        """How much more the first arm has of a score {accuracy, interval} or a measure {mean, interval}, paired over seeds."""
        if what in next(iter(self.measures.values()), {}).get(arm, ()):
            return mean_of_numbers([first - second for first, second in zip(self.numbers(arm, what), self.numbers(other, what), strict=True)])
        pairs = zip(self.cells_of(arm), self.cells_of(other), strict=True)
        return difference([(first.scores[what], second.scores[what]) for first, second in pairs])

    def contrast(self, arm: str, other: str, what: str = "knn") -> str:
        """A gain in words: 61.2 % (arm) against 40.3 % (other), +20.9 (+18.0 to +23.8) points."""
        gain = self.gain(arm, other, what)
        if "mean" not in gain:
            return f"{percent(self.score(arm, what))} ({arm}) against {percent(self.score(other, what))} ({other}), {points(gain)} points"
        interval = " ({:+.3g} to {:+.3g})".format(*gain["interval"]) if gain["interval"] else ""
        first, second = (statistics.fmean(self.numbers(name, what)) for name in (arm, other))
        return f"{what} {first:.3g} ({arm}) against {second:.3g} ({other}), {gain['mean']:+.3g}{interval}"


def sign(gain: Mapping[str, Any]) -> int:
    """1 or -1 where the whole interval of a gain lies on one side of zero, else 0; a single seed decides nothing."""
    low, high = gain["interval"] or (0, 0)
    return 1 if low > 0 else -1 if high < 0 else 0


def verdict_of(*gains: Mapping[str, Any]) -> str:
    """Holds where all gains are above zero with their intervals; fails where one is below with its interval; else undecided."""
    signs = [sign(gain) for gain in gains]
    return HOLDS if min(signs) == 1 else FAILS if min(signs) == -1 else UNDECIDED


def few_per_class(samples: DataSet, count: int, seed: int) -> Int64[Tensor, " rows"]:
    """So many training rows of each class (all, where there are fewer), drawn by the seed, in order."""
    train = samples.train()
    of_class = [train[samples.rows.label[train] == label] for label in range(samples.spec.classes)]
    drawn = [rows[Draw(seed, "few", label).permutations(len(rows), 1)[0][:count]] for label, rows in enumerate(of_class) if len(rows)]
    return torch.cat(drawn).sort().values


def search_precision(features: Mapping[str, Callable[[Tensor], Tensor]], samples: DataSet) -> dict[str, dict[str, float]]:
    """Arm -> mean average precision of searching the training part by test samples, by the cosine of features. Samples of one class are relevant.

    features: arm -> what gives rows of the data their features.
    """
    train, (_, test, _, _), labels = samples.train(), samples.held_out(), samples.rows.label
    scores = {arm: Retrieval().score(Features(of(train), labels[train], of(test), labels[test])) for arm, of in features.items()}
    return {arm: {PRECISION: score["map"]} for arm, score in scores.items()}


def generated(run: Run, count: int, seed: int, label: int | None = None) -> Float[Tensor, "count values"]:
    """New samples of a run, of this class or of any, as rows of numbers."""
    labels = None if label is None else torch.full((count,), label)
    parts = new_samples(trained_method(run), count, labels, seed=seed, device=choose_device("auto"))
    return torch.cat([modality_of(part).numbers(part).float().flatten(1) for part in parts])


class Claim(ABC):
    """A claim that anyone can check. A subclass is registered by being defined in `claims/`; its file is its name, with dashes.

    says: the claim, as a sentence. source: the paper and the place in it. rule: what will be called "holds" and what not.
    data: the named data set it is checked on. train, test: how many of its samples are used (all, if there are fewer). minutes: on two CPU cores.
    protocols: what scores the frozen encoders; protocol_settings: their options; floor_seconds: for floors that must be trained.
    contrasts: (arm, another arm, protocol or measure of which the first has more).
    """

    name: ClassVar[str] = ""
    says: ClassVar[str]
    source: ClassVar[str]
    rule: ClassVar[str]
    data: ClassVar[str] = "cifar10"
    train: ClassVar[int] = 20_000
    test: ClassVar[int] = 5_000
    steps: ClassVar[int] = 200
    batch: ClassVar[int] = 256
    seeds: ClassVar[int] = 3
    minutes: ClassVar[int] = 30
    protocols: ClassVar[tuple[str, ...]] = ("knn",)
    protocol_settings: ClassVar[Mapping[str, Any]] = {}
    floor_seconds: ClassVar[float] = 120.0
    contrasts: ClassVar[Sequence[tuple[str, str, str]]] = ()

    @abstractmethod
    def arms(self) -> dict[str, Arm]:
        """The trainings that are compared, by the words that tell them apart."""

    def open(self, root: str | Path | None) -> Any:
        """What the claim is checked on, as `open_data` takes it: the named data set, or data made here. root: where named data sets lie."""
        return self.data

    def measure(self, runs: Mapping[str, Run], samples: DataSet, seed: int) -> Mapping[str, Mapping[str, float]]:
        """What the claim measures itself, of the trainings of one seed: arm -> what -> number. Done once, and kept on disk.

        It may have more arms, without a training, such as PCA. Every arm has the same numbers.
        """
        return {}

    def decide(self, findings: Findings) -> Outcome:
        """What the rule says of the findings; unless a claim decides otherwise, it holds if all its contrasts are above zero with their intervals."""
        verdict = verdict_of(*(findings.gain(*contrast) for contrast in self.contrasts))
        return Outcome(verdict, f"{'; '.join(findings.contrast(*contrast) for contrast in self.contrasts)}.")

    def figure(self, findings: Findings) -> Any:
        """A plotly figure of them; unless a claim draws its own, a bar for each arm: of its first measure, else of its first score."""
        measured = next(iter(findings.measures.values()))
        if not measured:
            return bar_figure({arm: findings.score(arm, self.protocols[0]) for arm in findings.arms}, "test accuracy")
        measure = next(iter(next(iter(measured.values()))))
        return bar_figure({arm: findings.number(arm, measure) for arm in measured}, measure)
