"""What became of several trainings (arms) with several seeds, and the statistics over seeds."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from leaven.evaluation.intervals import seeds_interval, variance_of
from leaven.evaluation.protocol import Scores
from leaven.evaluation.protocols.few_label import by_count
from leaven.evaluation.registry import headline, measure_of, percent, protocol_title
from leaven.evaluation.sentences import AUC, Point, labels_per_class, summed_up
from leaven.run import Run, named

FINISHED, STOPPED, DIED = "finished", "stopped", "died"


@dataclass(frozen=True)
class Cell:
    """One arm trained with one seed, and what became of it.

    state: "finished"; "stopped" (it stopped itself, as health says why) or "died" (its process gave no answer; `why` says how). Only a finished
    one has scores and floors, in the shapes of a scorecard. cpu_seconds: processor time of all threads. peak_memory: bytes resident, at most.
    flops_per_second: floating-point operations of the forward and backward passes per second, over the whole training.
    """

    arm: str
    seed: int
    state: str
    run: Run = field(compare=False)
    encoder: str = ""
    scores: Scores = field(default_factory=dict)
    floors: dict[str, Scores] = field(default_factory=dict)
    health: list[dict[str, Any]] = field(default_factory=list)
    steps: int | None = None
    seconds: float | None = None
    samples_per_second: float | None = None
    cpu_seconds: float | None = None
    peak_memory: int | None = None
    flops_per_second: float | None = None
    time_split: dict[str, float] = field(default_factory=dict)
    why: str = ""

    @property
    def folder(self) -> str:
        """Where its run is, within the folder of all cells."""
        return f"{self.run.path.parent.name}/{self.run.path.name}"

    def curve(self, name: str) -> list[tuple[int, float]]:
        """(step, value) of a metric of the training, wherever it was logged."""
        return [(row["step"], row[name]) for row in self.run.metrics if name in row]

    def summary(self) -> str:
        """What became of it, in one line."""
        if self.state != FINISHED:
            return f"{self.state}: {self.why}"
        scores = [f"{protocol_title(name)} {percent(score[-1] if isinstance(score, list) else score)}" for name, score in self.scores.items()]
        return ", ".join([*scores, f"{self.steps:,} steps in {self.seconds:,.0f} s", *map(named, self.health)])

    def to_dict(self) -> dict[str, Any]:
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self) if item.name not in ("arm", "run")}
        return {"method": self.arm, "folder": self.folder, **values}


class Results:
    """The cells of several arms with the same seeds. A subclass keeps them as `cells`."""

    cells: list[Cell]

    @property
    def arms(self) -> list[str]:
        return list(dict.fromkeys(cell.arm for cell in self.cells))

    def cells_of(self, arm: str) -> list[Cell]:
        return [cell for cell in self.cells if cell.arm == arm]

    def finished(self, arm: str) -> list[Cell]:
        return [cell for cell in self.cells_of(arm) if cell.state == FINISHED]

    def scores(self, arm: str) -> Scores:
        """{protocol: {accuracy (or the protocol's own measure), interval, ...}} over the finished seeds."""
        return over_seeds([cell.scores for cell in self.finished(arm)])


def over_seeds(scores: Sequence[Scores]) -> Scores:
    """Scores of several seeds as one: means, with an interval over seeds and test samples (`seeds_interval`).

    What a seed does not change (the raw input), and a single seed, keep the interval over test samples that they came with; `interval_over` says
    which it is.
    """
    together: Scores = {}
    for protocol, first in scores[0].items() if scores else ():
        if isinstance(first, list):
            curves = [by_count(seed[protocol]) for seed in scores]
            shared = [count for count in curves[0] if all(count in curve for curve in curves)]
            together[protocol] = [{"labels_per_class": count, **mean([curve[count] for curve in curves])} for count in shared]
        else:
            together[protocol] = mean([seed[protocol] for seed in scores])
    return together


def mean(scores: Sequence[Point]) -> dict[str, Any]:
    """The mean of a score over seeds, with its interval (see `over_seeds`)."""
    measure = str(measure_of(scores[0]))
    if measure == AUC:
        accuracy = mean([{"accuracy": score["accuracy"], "interval": score["interval"]} for score in scores])
        area = mean([{"accuracy": score[AUC], "interval": score[f"{AUC}_interval"]} for score in scores])
        return {**accuracy, AUC: area["accuracy"], f"{AUC}_interval": area["interval"], "measure": AUC, "seeds": area["seeds"]}
    values = [headline(score) for score in scores]
    if len(set(values)) == 1 and len({tuple(score["interval"]) for score in scores}) == 1:
        return {measure: values[0], "interval": list(scores[0]["interval"]), "interval_over": "test samples", "seeds": values}
    over_samples = statistics.fmean(variance_of(score["interval"]) for score in scores)
    low, high = seeds_interval(values, over_samples=over_samples)
    interval = [max(low, 0.0), min(high, 1.0)]
    return {measure: statistics.fmean(values), "interval": interval, "interval_over": "seeds and test samples", "seeds": values}


def difference(pairs: Sequence[tuple[Point, Point]], *, over_samples: float = 0.0) -> dict[str, Any]:
    """Mean of first - second over seeds, with a Student-t interval from two pairs on. over_samples: its variance over test samples (0: seeds
    alone)."""
    gain = mean_of_numbers([headline(first) - headline(second) for first, second in pairs], over_samples=over_samples)
    return {str(measure_of(pairs[0][0])): gain["mean"], "interval": gain["interval"], "seeds": gain["seeds"]}


def variance_over_samples(pairs: Sequence[tuple[Point, Point]], floor: str = "") -> float:
    """Of the difference of scores on the same test samples: from the paired interval over this floor where the first ones have it, else as if the
    samples were different, which is too much."""
    pairs = [(summed_up(first), summed_up(second)) for first, second in pairs]
    paired = [first["gains"][floor]["interval"] for first, _ in pairs if floor in first.get("gains", {})]
    if len(paired) == len(pairs):
        return statistics.fmean(map(variance_of, paired))
    return statistics.fmean(variance_of(first["interval"]) + variance_of(second["interval"]) for first, second in pairs)


def mean_of_numbers(values: Sequence[float], *, over_samples: float = 0.0) -> dict[str, Any]:
    """{mean, interval, seeds} of numbers in any unit, one per seed; one seed gives no interval."""
    interval = list(seeds_interval(values, over_samples=over_samples)) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "interval": interval, "seeds": list(values)}


def point_at(scores: Scores, count: int) -> Point | None:
    """The point of a few-label curve at so many labels per class."""
    return by_count(scores.get("few-label", [])).get(count)


def by_title(scores: Mapping[str, Any]) -> dict[str, Point]:
    """The points of all scores by the titles of their columns; a few-label curve has a column for each count."""
    titled: dict[str, Point] = {}
    for name, score in scores.items():
        if isinstance(score, list):
            titled |= {labels_per_class(count): point for count, point in by_count(score).items()}
        else:
            titled[protocol_title(name)] = score
    return titled


def points(gain: Mapping[str, Any] | None) -> str:
    """+28.7 (+27.0 to +30.4), in percentage points."""
    if gain is None:
        return ""
    text = f"{100 * headline(gain):+.1f}"
    return text if gain["interval"] is None else f"{text} ({100 * gain['interval'][0]:+.1f} to {100 * gain['interval'][1]:+.1f})"
