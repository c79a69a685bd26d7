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
from leaven.evaluation.features import encode
from leaven.evaluation.frozen import Features
from leaven.evaluation.protocols.retrieval import Retrieval
from leaven.evaluation.registry import percent
from leaven.evaluation.results import Cell, Results, difference, mean_of_numbers, points
from leaven.methods.method import Method
from leaven.modalities import Value, modality_of
from leaven.report.reproduction import bar_figure, curves_figure, line_figure
from leaven.run import Run
from leaven.training.devices import choose_device
from leaven.training.trained import load_encoder_of, trained_method

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
    """All cells of a claim. measures: what it measured itself, seed -> arm -> measure -> number; arms there need no training of their own."""

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
        return [arms[arm][measure] for arms in self.measures.values()]

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


def train_and_test(samples: DataSet) -> tuple[Value, Value]:
    """The inputs to learn from, and those to test on, of data that has one input."""
    return samples.rows["x"][samples.train()], samples.rows["x"][samples.held_out()[1]]


def features_of(run: Run) -> Callable[[Value], Float[Tensor, "samples dim"]]:
    """What gives samples the features of the encoder that a run has trained."""
    encoder = load_encoder_of(run)
    return lambda value: encode(encoder, value, torch.arange(len(value)))


def numbers_of(value: Value) -> Float[Tensor, "samples values"]:
    """Samples as rows of numbers."""
    return modality_of(value).numbers(value).float().flatten(1)


def search_precision(features: Mapping[str, Callable[[Value], Tensor]], samples: DataSet) -> dict[str, dict[str, float]]:
    """Arm -> mean average precision of searching the training part by test samples, by the cosine of features. Samples of one class are relevant.

    features: arm -> what gives samples their features.
    """
    rows, labels = (samples.train(), samples.held_out()[1]), samples.rows.label
    train, test = train_and_test(samples)
    scores = {arm: Retrieval().score(Features(of(train), labels[rows[0]], of(test), labels[rows[1]])) for arm, of in features.items()}
    return {arm: {PRECISION: score["map"]} for arm, score in scores.items()}


def generated(run: Run, count: int, seed: int, label: int | None = None) -> Float[Tensor, "count values"]:
    """New samples of a run, of this class or of any, as rows of numbers."""
    labels = None if label is None else torch.full((count,), label)
    parts = new_samples(trained_method(run), count, labels, seed=seed, device=choose_device("auto"))
    return torch.cat([numbers_of(part) for part in parts])


class Claim(ABC):
    """A claim that anyone can check. A subclass is registered by being defined in `claims/`; its file is its name, with dashes.

    says: the claim, as a sentence. source: the paper and the place in it. rule: what will be called "holds" and what not.
    data: the named data set it is checked on. train, test: how many of its samples are used (all, if there are fewer). minutes: on two CPU cores.
    protocols: what scores the frozen encoders; protocol_settings: their options; floor_seconds: for floors that must be trained.
    contrasts: (arm, another arm, protocol or measure of which the first has more).

    The figure has panels (title -> a metric of the trainings), or lines (name -> place on the axis -> arm), or bars (measure -> its words; the first
    measure, else the first score, where a claim says none of these). axis: its title. log: whether lines have a log axis.
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
    panels: ClassVar[Mapping[str, str]] = {}
    lines: ClassVar[Mapping[str, Mapping[Any, str]]] = {}
    bars: ClassVar[Mapping[str, str]] = {}
    axis: ClassVar[str] = ""
    log: ClassVar[bool] = False

    @abstractmethod
    def arms(self) -> dict[str, Arm]:
        """The trainings to compare, by the words that tell them apart."""

    def open(self, root: str | Path | None) -> Any:
        """What the claim is checked on, as `open_data` takes it: the named data set, or data made here. root: where named data sets lie."""
        return self.data

    def measure(self, runs: Mapping[str, Run], samples: DataSet, seed: int) -> Mapping[str, Mapping[str, float]]:
        """What the claim measures itself, of the trainings of one seed: arm -> measure -> number. Done once, and kept on disk.

        It may have more arms, without a training, such as PCA. Every arm has the same measures.
        """
        return {arm: measures for arm, run in runs.items() if (measures := self.measure_run(run, samples, seed))}

    def measure_run(self, run: Run, samples: DataSet, seed: int) -> Mapping[str, float]:
        """The measures of one training, where they do not depend on the others."""
        return {}

    def decide(self, findings: Findings) -> Outcome:
        """What the rule says of the findings; unless a claim decides otherwise, it holds if all its contrasts are above zero with their intervals."""
        verdict = verdict_of(*(findings.gain(*contrast) for contrast in self.contrasts))
        return Outcome(verdict, f"{'; '.join(findings.contrast(*contrast) for contrast in self.contrasts)}.")

    def figure(self, findings: Findings) -> Any:
        """A plotly figure of them."""
        if self.panels:
            return curves_figure(findings, self.panels)
        if self.lines:
            scores = {name: [(place, findings.score(arm, self.protocols[0])) for place, arm in arms.items()] for name, arms in self.lines.items()}
            return line_figure(scores, self.axis, log=self.log)
        arms = next(iter(findings.measures.values()))
        if not arms:
            return bar_figure({arm: findings.score(arm, self.protocols[0]) for arm in findings.arms}, "test accuracy")
        first = next(iter(next(iter(arms.values()))))
        bars = {f"{arm} ({words})": findings.number(arm, measure) for measure, words in self.bars.items() for arm in arms}
        return bar_figure(bars or {arm: findings.number(arm, first) for arm in arms}, self.axis or first)
