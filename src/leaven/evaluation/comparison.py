"""Several methods on the same data for the same time: their scores over seeds, what they add to an untrained encoder, and what they cost."""

from __future__ import annotations

import dataclasses
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leaven.evaluation.intervals import seeds_interval
from leaven.evaluation.protocol import Point, Scores
from leaven.evaluation.registry import cell, headline, measure_of, percent, protocol_title
from leaven.methods.registry import registry
from leaven.modalities.floor import floor_title
from leaven.run import named

FINISHED, STOPPED, DIED = "finished", "stopped", "died"
PASSES, SLOWER = "forward and backward", 0.7
OF_INPUT = ("input", "characters")  # floors that no seed and no encoder changes
OF_ENCODER = {"words": "mean of word vectors, {}", "untrained": "untrained {}"}  # word vectors are as long as its features


@dataclass(frozen=True)
class Cell:
    """One training of one method with one seed, and what became of it.

    state: "finished"; "stopped" (it stopped itself, as health says why) or "died" (its process gave no answer; why says how). Only a finished
    one has scores and floors, in the shapes of a scorecard. cpu_seconds: processor time of all threads. peak_memory: bytes resident, at most.
    flops_per_second: floating-point operations of the forward and backward passes a second, over the whole training.
    """

    method: str
    seed: int
    state: str
    folder: str
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

    def told(self) -> str:
        """What became of it, in one line."""
        if self.state != FINISHED:
            return f"{self.state}: {self.why}"
        scores = [f"{protocol_title(name)} {percent(score)}" for name, score in self.scores.items() if name != "few-label"]
        return ", ".join([*scores, f"{self.steps:,} steps in {self.seconds:,.0f} s", *map(named, self.health)])


@dataclass
class Comparison:
    """What `leaven compare` found: its cells, and the statistics over them.

    folder: where its runs are. length: {"budget": seconds} or {"steps": number}. left_out: {method: why the data or the encoder do not suit it}.
    machine: as in plan.json.
    """

    folder: str
    data: str
    protocols: tuple[str, ...]
    length: dict[str, Any]
    seeds: int
    cells: list[Cell]
    left_out: dict[str, str] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def protocol(self) -> str:
        """The protocol that methods are ordered by."""
        return "linear" if "linear" in self.protocols else self.protocols[0]

    def cells_of(self, method: str) -> list[Cell]:
        return [found for found in self.cells if found.method == method]

    def methods(self) -> list[str]:
        """Best first by the main protocol; those without a score last, in the order in which they were asked for."""
        names = list(dict.fromkeys(found.method for found in self.cells))
        return sorted(names, key=lambda name: -height(self.scores(name).get(self.protocol)))

    def scores(self, method: str) -> Scores:
        """{protocol: {accuracy (map of retrieval, v_measure of clusters), interval, ...}} over the finished seeds."""
        return over_seeds([found.scores for found in self.cells_of(method) if found.state == FINISHED])

    def floors(self) -> dict[str, Scores]:
        """{"input": scores, "untrained NAME": scores for each encoder}, of texts also "characters" and "mean of word vectors, NAME"; an encoder that
        several methods share was measured once a seed."""
        finished = [found for found in self.cells if found.state == FINISHED]
        arms: dict[str, dict[int, Scores]] = {}
        for name in (*OF_INPUT, *OF_ENCODER):
            for found in finished:
                if name in found.floors:
                    arm = OF_ENCODER.get(name, name).format(found.encoder)
                    arms.setdefault(arm, {})[found.seed] = found.floors[name]
        return {name: over_seeds(list(by_seed.values())) for name, by_seed in arms.items()}

    def gains(self, method: str) -> Scores:
        """What the method adds to its untrained encoder, in the shapes of `scores`, paired over seeds; one seed gives no interval."""
        cells = [found for found in self.cells_of(method) if found.state == FINISHED and "untrained" in found.floors]
        pairs = [(found.scores, found.floors["untrained"]) for found in cells]
        return {
            protocol: difference([(own[protocol], fresh[protocol]) for own, fresh in pairs])
            for protocol in self.protocols
            if protocol != "few-label" and pairs
        }

    def costs(self, method: str) -> dict[str, Any]:
        """Means over the finished seeds (the most of any, for memory); none where nothing was measured."""
        finished = [found for found in self.cells_of(method) if found.state == FINISHED]
        costs: dict[str, Any] = {}
        for name in ("steps", "seconds", "samples_per_second", "cpu_seconds", "peak_memory", "flops_per_second"):
            values = [value for found in finished if (value := getattr(found, name)) is not None]
            costs[name] = None if not values else max(values) if name in ("steps", "peak_memory") else statistics.fmean(values)
        parts = dict.fromkeys(part for found in finished for part in found.time_split)
        costs["time_split"] = {part: statistics.fmean(found.time_split.get(part, 0.0) for found in finished) for part in parts}
        return costs

    def slower(self) -> list[str]:
        """Where the time of methods goes that do less than 70 % of the arithmetic a second that is usual on their encoder, a sentence each."""
        costs = {method: cost for method in self.methods() if (cost := self.costs(method))["flops_per_second"] and PASSES in cost["time_split"]}
        encoders = {method: self.cells_of(method)[0].encoder for method in costs}
        told = []
        for method, cost in costs.items():
            alike = [other for name, other in costs.items() if encoders[name] == encoders[method]]
            share = cost["flops_per_second"] / statistics.median(other["flops_per_second"] for other in alike)
            if share >= SLOWER:
                continue
            whole = sum(cost["time_split"].values())
            rest = {part: spent / whole for part, spent in cost["time_split"].items() if part != PASSES}
            parts = ", ".join(f"{part} {taken:.0%}" for part, taken in sorted(rest.items(), key=lambda item: -item[1]) if taken >= 0.05)
            within = rate_of_passes(cost) / statistics.median(rate_of_passes(other) for other in alike)
            told.append(
                f"{method} does {share:.0%} of the arithmetic a second of the median method on {encoders[method]}: "
                f"{1 - sum(rest.values()):.0%} of its time goes into forward and backward passes, which reach {within:.0%} of the median"
                f"{f'; beside them {parts}' if parts else ''}."
            )
        return told

    def verdicts(self, method: str) -> list[str]:
        """What health said of a method's trainings, with how many seeds it was said of; and those whose process died."""
        cells = self.cells_of(method)
        said = Counter(named(verdict) for found in cells for verdict in found.health)
        said.update(found.why for found in cells if found.state == DIED)
        return [text if len(cells) == 1 else f"{text} ({count} of {len(cells)} seeds)" for text, count in said.items()]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: scores and floors of each arm in the shapes of a scorecard, gains, costs, and every cell."""
        methods = self.methods()
        return {
            "out": self.folder,
            "report": str(Path(self.folder) / "report.html"),
            "data": self.data,
            "length": self.length,
            "seeds": self.seeds,
            "scores": {name: self.scores(name) for name in methods},
            "floors": self.floors(),
            "gains": {name: self.gains(name) for name in methods},
            "costs": {name: self.costs(name) for name in methods},
            "cells": [dataclasses.asdict(found) for found in self.cells],
            "left_out": [{"method": name, "why": why} for name, why in self.left_out.items()],
            "machine": self.machine,
            "slower": self.slower(),
            "notes": self.notes,
            "sentence": self.sentence(),
        }

    def table(self) -> list[list[str]]:
        """Rows of text, the head first: methods best first, then the floors. Cells that were not measured are empty."""
        scored = [(protocol_title(protocol), protocol) for protocol in self.protocols if protocol != "few-label"]
        counts = sorted({point["labels_per_class"] for found in self.cells for point in found.scores.get("few-label", [])})
        head = ["", "encoder", *(name for name, _ in scored), *(f"{labels(count)} a class" for count in counts)]
        rows = [[*head, "over untrained", "steps", "samples/s", "CPU time", "memory", "FLOP/s", "health"]]
        for method in self.methods():
            scores, costs = self.scores(method), self.costs(method)
            rows.append(
                [
                    method,
                    ", ".join(dict.fromkeys(found.encoder for found in self.cells_of(method) if found.encoder)),
                    *(cell(scores.get(protocol)) for _, protocol in scored),
                    *(cell(point_at(scores, count)) for count in counts),
                    points(self.gains(method).get(self.protocol)),
                    *cost_cells(costs),
                    ", ".join(self.verdicts(method)) or "no warnings",
                ]
            )
        for name, scores in self.floors().items():
            values = [*(cell(scores.get(protocol)) for _, protocol in scored), *(cell(point_at(scores, count)) for count in counts)]
            rows.append([floor_title(name), "", *values, *[""] * 7])
        return rows

    def text(self) -> str:
        """The table in two parts (scores, costs) and the sentence for a terminal or a log file, columns aligned."""
        rows = self.table()
        cut = rows[0].index("steps")
        scores = [row[:cut] for row in rows]
        costs = [[row[0], *row[cut:]] for row in rows if row[0] == "" or row[-1]]
        told = [self.title(), "", *aligned(scores), "", *aligned(costs), "", self.sentence()]
        told += [f"Left out: {name}: {why}" for name, why in self.left_out.items()]
        return "\n".join(told + [f"Note: {note}" for note in self.notes])

    def title(self) -> str:
        return f"{self.data}, {self.told_length()} a training, {'one seed' if self.seeds == 1 else f'{self.seeds} seeds'}"

    def told_length(self) -> str:
        if "steps" in self.length:
            return f"{self.length['steps']:,} steps"
        seconds = self.length["budget"]
        return f"{seconds:g} seconds" if seconds < 120 else f"{seconds / 60:g} minutes"

    def sentence(self) -> str:
        """Which method is best, by how much over its floor, and which others cannot be told apart from it; where that one learned from labels, the
        same of those that did not."""
        ranked = [name for name in self.methods() if self.protocol in self.scores(name)]
        if not ranked:
            return "No method has a score."
        unlabeled = [name for name in ranked if not learns_labels(name)]
        if unlabeled and unlabeled != ranked and ranked[0] != unlabeled[0]:
            return f"{self.best_of(ranked)} Of the methods without labels {self.best_of(unlabeled)}"
        return self.best_of(ranked)

    def best_of(self, ranked: Sequence[str]) -> str:
        """Of methods in their order, the best first."""
        best, score = ranked[0], self.scores(ranked[0])[self.protocol]
        if self.protocol == "few-label":
            count = score[-1]["labels_per_class"]
            return f"{best} scores best: {cell(score[-1])} with {labels(count)} a class."
        protocol = protocol_title(self.protocol)
        told = f"{best} scores best ({protocol}): {cell(score)}"
        if gain := self.gains(best).get(self.protocol):
            told += f", {over_untrained(gain)}"
        told += "."
        close = [name for name in ranked[1:] if not self.apart(best, name)]
        if close:
            names = ", ".join(f"{name} ({percent(self.scores(name)[self.protocol])})" for name in close)
            told += f" With {'one seed' if self.seeds == 1 else f'{self.seeds} seeds'} it cannot be told apart from {names}."
        floors = {name: found for name, scores in self.floors().items() if name in OF_INPUT and (found := scores.get(self.protocol))}
        highest = max(floors, key=lambda name: headline(floors[name]), default=None)
        if highest is not None and headline(floors[highest]) >= headline(score):
            told += f" But {'the raw input' if highest == 'input' else floor_title(highest)} gives {percent(floors[highest])}."
        return told

    def apart(self, better: str, other: str) -> bool:
        """Whether two methods differ by more than chance: paired over seeds, or, with one seed, by intervals that do not touch."""
        first = {found.seed: found.scores[self.protocol] for found in self.cells_of(better) if found.state == FINISHED}
        second = {found.seed: found.scores[self.protocol] for found in self.cells_of(other) if found.state == FINISHED}
        shared = sorted(first.keys() & second.keys())
        if len(shared) < 2:
            return bool(self.scores(better)[self.protocol]["interval"][0] > self.scores(other)[self.protocol]["interval"][1])
        return bool(difference([(first[seed], second[seed]) for seed in shared])["interval"][0] > 0)


def learns_labels(method: str) -> bool:
    """Of one of Leaven's own."""
    kind = registry().get(method)
    return kind is not None and (kind.learns_labels or kind.classifies)


def over_seeds(found: Sequence[Scores]) -> Scores:
    """Scores of several seeds as one: means, with a Student-t interval over seeds.

    What a seed does not change (the raw input), and a single seed, keep the interval over test samples that they came with; `interval_over` says
    which it is.
    """
    together: Scores = {}
    for protocol in found[0] if found else ():
        if protocol == "few-label":
            curves = [{point["labels_per_class"]: point for point in scores[protocol]} for scores in found]
            shared = [count for count in curves[0] if all(count in curve for curve in curves)]
            together[protocol] = [{"labels_per_class": count, **mean([curve[count] for curve in curves])} for count in shared]
        else:
            together[protocol] = mean([scores[protocol] for scores in found])
    return together


def mean(found: Sequence[Point]) -> dict[str, Any]:
    values, measure = [headline(score) for score in found], str(measure_of(found[0]))
    if len(set(values)) == 1 and len({tuple(score["interval"]) for score in found}) == 1:
        return {measure: values[0], "interval": list(found[0]["interval"]), "interval_over": "test samples", "seeds": values}
    low, high = seeds_interval(values)
    return {measure: statistics.fmean(values), "interval": [max(low, 0.0), min(high, 1.0)], "interval_over": "seeds", "seeds": values}


def difference(pairs: Sequence[tuple[Point, Point]]) -> dict[str, Any]:
    """Mean of first - second over seeds, with a Student-t interval from two pairs on."""
    values = [headline(first) - headline(second) for first, second in pairs]
    interval = list(seeds_interval(values)) if len(values) > 1 else None
    return {str(measure_of(pairs[0][0])): statistics.fmean(values), "interval": interval, "seeds": values}


def height(score: Any) -> float:
    """What arms are ordered by; a few-label curve counts by its last point, an absent score last."""
    if not score:
        return -1.0
    return headline(score[-1] if isinstance(score, list) else score)


def point_at(scores: Scores, count: int) -> Point | None:
    return next((point for point in scores.get("few-label", []) if point["labels_per_class"] == count), None)


def points(gain: Mapping[str, Any] | None) -> str:
    """+28.7 (+27.0 to +30.4), in percentage points."""
    if gain is None:
        return ""
    told = f"{100 * headline(gain):+.1f}"
    return told if gain["interval"] is None else f"{told} ({100 * gain['interval'][0]:+.1f} to {100 * gain['interval'][1]:+.1f})"


def over_untrained(gain: Mapping[str, Any]) -> str:
    """A gain in words: 28.7 points over its untrained encoder (27.0 to 30.4)."""
    by, interval = f"{100 * headline(gain):.1f} points", gain["interval"]
    if interval is None:
        return f"{by} over its untrained encoder" if headline(gain) >= 0 else f"{by.removeprefix('-')} under its untrained encoder"
    bounds = f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"
    return f"{by} over its untrained encoder ({bounds})" if interval[0] > 0 else f"not more than its untrained encoder ({by}, {bounds})"


def rate_of_passes(costs: Mapping[str, Any]) -> float:
    """Floating-point operations a second of the time that forward and backward passes take."""
    return costs["flops_per_second"] * sum(costs["time_split"].values()) / costs["time_split"][PASSES]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def cost_cells(costs: Mapping[str, Any]) -> list[str]:
    """steps, samples/s, CPU time, memory and FLOP/s as text."""
    cells = ["" if costs["steps"] is None else f"{costs['steps']:,}"]
    cells.append("" if costs["samples_per_second"] is None else f"{costs['samples_per_second']:,.0f}")
    cells.append("" if costs["cpu_seconds"] is None else f"{costs['cpu_seconds']:,.0f} s")
    cells.append("" if costs["peak_memory"] is None else f"{costs['peak_memory'] / 1e9:.2f} GB")
    cells.append("" if costs["flops_per_second"] is None else magnitude(costs["flops_per_second"]))
    return cells


def magnitude(number: float) -> str:
    """Three figures and a unit prefix: 412 G."""
    for unit, name in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.3g} {name}"
    return f"{number:.3g}"


def labels(count: int) -> str:
    return "1 label" if count == 1 else f"{count} labels"
