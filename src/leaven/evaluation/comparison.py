"""Several methods on the same data for the same time: their scores over seeds, what they add to an untrained encoder, and what they cost."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leaven.evaluation.beside import standing
from leaven.evaluation.intervals import chance, holm
from leaven.evaluation.protocol import Scores, titled
from leaven.evaluation.registry import cell, headline, percent, protocol_of, protocol_title
from leaven.evaluation.results import DIED, Cell, Results, by_title, difference, over_seeds, points, variance_over_samples
from leaven.evaluation.scorecard import aligned
from leaven.evaluation.sentences import labels_per_class
from leaven.methods.registry import registry
from leaven.modalities.floor import floor_phrase, floor_title
from leaven.run import named

PASSES, SLOWER = "forward and backward", 0.7
OF_INPUT = ("input", "characters", "band-power", "majority", "prevalence")  # floors that no seed and no encoder changes
OF_ENCODER = {"words": "mean of word vectors, {}", "untrained": "untrained {}"}  # word vectors are as long as its features


@dataclass
class Comparison(Results):
    """What `leaven compare` measured: its cells, and the statistics over them.

    folder: where its runs are. length: {"budget": seconds} or {"steps": number}. left_out: {method: why the data or the encoder do not suit it}.
    machine: as in plan.json. role: whose encoder was scored, where a method keeps several. beside: scores of trained models, by name.
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
    role: str | None = None
    beside: dict[str, Scores] = field(default_factory=dict)

    @property
    def protocol(self) -> str:
        """The protocol that methods are ordered by."""
        return "linear" if "linear" in self.protocols else self.protocols[0]

    def methods(self) -> list[str]:
        """Best first by the main protocol; those without a score last, in the order in which they were asked for."""
        return sorted(self.arms, key=lambda name: -height(self.scores(name).get(self.protocol)))

    def floors(self) -> dict[str, Scores]:
        """{"input": scores, "untrained NAME": scores for each encoder}, of texts also "characters" and "mean of word vectors, NAME"; an encoder that
        several methods share was measured once per seed."""
        by_seed: dict[str, dict[int, Scores]] = {}
        for name in (*OF_INPUT, *OF_ENCODER):
            for trained in self.cells:
                if name in trained.floors:
                    floor = OF_ENCODER.get(name, name).format(trained.encoder)
                    by_seed.setdefault(floor, {})[trained.seed] = trained.floors[name]
        return {floor: over_seeds(list(scores.values())) for floor, scores in by_seed.items()}

    def gains(self, method: str) -> Scores:
        """What the method adds to its untrained encoder, in the shapes of `scores`, paired over seeds; one seed gives no interval."""
        cells = [(trained.scores, trained.floors["untrained"]) for trained in self.finished(method) if "untrained" in trained.floors]
        gains: Scores = {}
        for protocol in self.protocols:
            if protocol != "few-label" and cells:
                pairs = [(own[protocol], untrained[protocol]) for own, untrained in cells]
                gains[protocol] = difference(pairs, over_samples=variance_over_samples(pairs, "untrained"))
        return gains

    def costs(self, method: str) -> dict[str, Any]:
        """Means over the finished seeds (the most of any, for memory); none where nothing was measured."""
        finished = self.finished(method)
        costs: dict[str, Any] = {}
        for name in ("steps", "seconds", "samples_per_second", "cpu_seconds", "peak_memory", "flops_per_second"):
            values = [value for trained in finished if (value := getattr(trained, name)) is not None]
            costs[name] = None if not values else max(values) if name in ("steps", "peak_memory") else statistics.fmean(values)
        parts = dict.fromkeys(part for trained in finished for part in trained.time_split)
        costs["time_split"] = {part: statistics.fmean(trained.time_split.get(part, 0.0) for trained in finished) for part in parts}
        return costs

    def slower(self) -> list[str]:
        """For each method that does less than 70 % of the arithmetic per second that is usual on its encoder, a sentence that says where its time
        goes."""
        costs = {method: cost for method in self.methods() if (cost := self.costs(method))["flops_per_second"] and PASSES in cost["time_split"]}
        encoders = {method: self.cells_of(method)[0].encoder for method in costs}
        sentences = []
        for method, cost in costs.items():
            alike = [other for name, other in costs.items() if encoders[name] == encoders[method]]
            share = cost["flops_per_second"] / statistics.median(other["flops_per_second"] for other in alike)
            if share >= SLOWER:
                continue
            whole = sum(cost["time_split"].values())
            shares = {part: spent / whole for part, spent in sorted(cost["time_split"].items(), key=lambda item: -item[1])}
            passes = shares.pop(PASSES)
            parts = ", ".join(f"{part} {taken:.0%}" for part, taken in shares.items() if taken >= 0.05)
            within = rate_of_passes(cost) / statistics.median(rate_of_passes(other) for other in alike)
            sentences.append(
                f"{method} does {share:.0%} of the arithmetic per second of the median method on {encoders[method]}: "
                f"{passes:.0%} of its time goes into forward and backward passes, which reach {within:.0%} of the median"
                f"{f'; the rest goes into {parts}' if parts else ''}."
            )
        return sentences

    def verdicts(self, method: str) -> list[str]:
        """What health said of a method's trainings, with the number of seeds that it was said of; and why processes died."""
        cells = self.cells_of(method)
        counts = Counter(named(verdict) for trained in cells for verdict in trained.health)
        counts.update(dead.why for dead in cells if dead.state == DIED)
        return [text if len(cells) == 1 else f"{text} ({count} of {len(cells)} seeds)" for text, count in counts.items()]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: scores and floors of each arm in the shapes of a scorecard, gains, costs, and every cell."""
        methods = self.methods()
        return {
            "out": self.folder,
            "report": str(Path(self.folder) / "report.html"),
            "data": self.data,
            "role": self.role,
            "length": self.length,
            "seeds": self.seeds,
            "scores": {name: self.scores(name) for name in methods},
            "floors": self.floors(),
            "beside": self.beside,
            "gains": {name: self.gains(name) for name in methods},
            "costs": {name: self.costs(name) for name in methods},
            "cells": [trained.to_dict() for trained in self.cells],
            "left_out": [{"method": name, "why": why} for name, why in self.left_out.items()],
            "machine": self.machine,
            "slower": self.slower(),
            "notes": self.notes,
            "sentence": self.sentence(),
        }

    def table(self) -> list[list[str]]:
        """Rows of text, the head first: methods best first, then models beside, then floors. Cells that were not measured are empty."""
        counts = sorted({point["labels_per_class"] for trained in self.cells for point in trained.scores.get("few-label", [])})
        head = [*(protocol_title(protocol) for protocol in self.protocols if protocol != "few-label"), *map(labels_per_class, counts)]
        by_method = [by_title(self.scores(method)) for method in self.methods()]
        titles = [titled(title, [scores.get(title) for scores in by_method]) for title in head]
        rows = [["", "encoder", *titles, "over untrained", "steps", "samples/s", "CPU time", "memory", "FLOP/s", "health"]]

        def scored(scores: Scores) -> list[str]:
            points = by_title(scores)
            return [cell(points.get(title)) for title in head]

        for method in self.methods():
            encoders = dict.fromkeys(trained.encoder for trained in self.cells_of(method) if trained.encoder)
            gain, warnings = points(self.gains(method).get(self.protocol)), ", ".join(self.verdicts(method))
            costs = cost_cells(self.costs(method))
            rows.append([method, ", ".join(encoders), *scored(self.scores(method)), gain, *costs, warnings or "no warnings"])
        rows += [[name, "frozen", *scored(scores), *[""] * 7] for name, scores in self.beside.items()]
        return rows + [[floor_title(name), "", *scored(scores), *[""] * 7] for name, scores in self.floors().items()]

    def text(self) -> str:
        """The table in two parts (scores, costs) and the sentence for a terminal or a log file, columns aligned."""
        rows = self.table()
        cut = rows[0].index("steps")
        scores = [row[:cut] for row in rows]
        costs = [[row[0], *row[cut:]] for row in rows if row[0] == "" or row[-1]]
        title = f"{self.data}, {self.length_in_words()} per training, {seeds_in_words(self.seeds)}"
        lines = [title, "", *aligned(scores), "", *aligned(costs), "", self.sentence()]
        lines += [f"Left out: {name}: {why}" for name, why in self.left_out.items()]
        return "\n".join(lines + [f"Note: {note}" for note in self.notes])

    def length_in_words(self) -> str:
        return f"{self.length['steps']:,} steps" if "steps" in self.length else time_in_words(self.length["budget"])

    def sentence(self) -> str:
        """Which method is best, by how much it beats its floor, and which others cannot be told apart from it. If the best one learned from labels,
        the same is said of the methods that did not. Then how each model beside compares with the best one."""
        ranked = [name for name in self.methods() if self.protocol in self.scores(name)]
        if not ranked:
            return "No method has a score."
        return " ".join([self.methods_in_words(ranked), *self.standings(ranked[0])])

    def standings(self, best: str) -> list[str]:
        """A sentence about each model beside."""
        protocol = protocol_of(self.protocol)
        own = protocol.point(self.scores(best)[self.protocol])
        points = {name: protocol.point(scores[self.protocol]) for name, scores in self.beside.items()}
        title = titled(protocol.title, [own])
        return [standing(name, own, other, protocol.measure(own), title, best) for name, other in points.items() if own and other]

    def methods_in_words(self, ranked: Sequence[str]) -> str:
        unlabeled = [name for name in ranked if not learns_labels(name)]
        if unlabeled and unlabeled != ranked and ranked[0] != unlabeled[0]:
            return f"{self.best_of(ranked)} Of the methods without labels {self.best_of(unlabeled)}"
        return self.best_of(ranked)

    def best_of(self, ranked: Sequence[str]) -> str:
        """Of methods in their order, the best first."""
        best, score = ranked[0], self.scores(ranked[0])[self.protocol]
        if self.protocol == "few-label":
            return f"{best} scores best: {cell(score[-1])} with {labels_per_class(score[-1]['labels_per_class'])}."
        text = f"{best} scores best ({titled(protocol_title(self.protocol), [score])}): {cell(score)}"
        if gain := self.gains(best).get(self.protocol):
            text += f", {over_untrained(gain)}"
        text += "."
        apart = self.told_apart(best, ranked[1:])
        close = [name for name in ranked[1:] if name not in apart]
        if close:
            names = ", ".join(f"{name} ({percent(self.scores(name)[self.protocol])})" for name in close)
            text += f" With {seeds_in_words(self.seeds)} it cannot be told apart from {names}."
        floors = {name: point for name, scores in self.floors().items() if name in OF_INPUT and (point := scores.get(self.protocol))}
        highest = max(floors, key=lambda name: headline(floors[name]), default=None)
        if highest is not None and headline(floors[highest]) >= headline(score):
            text += f" But {floor_phrase(highest)} gives {percent(floors[highest])}."
        return text

    def told_apart(self, best: str, others: Sequence[str]) -> list[str]:
        """The others that differ from the best by more than chance, corrected for their number (`holm`)."""
        there = holm([self.chance(best, other) for other in others])
        return [other for other, differs in zip(others, there, strict=True) if differs]

    def chance(self, better: str, other: str) -> float:
        """How likely so large a difference is by chance: paired over the seeds that both have, with the variance over test samples."""
        first, second = ({trained.seed: trained.scores[self.protocol] for trained in self.finished(method)} for method in (better, other))
        pairs = [(first[seed], second[seed]) for seed in sorted(first.keys() & second.keys())]
        pairs = pairs or [(self.scores(better)[self.protocol], self.scores(other)[self.protocol])]
        return chance([headline(one) - headline(another) for one, another in pairs], over_samples=variance_over_samples(pairs))


def learns_labels(method: str) -> bool:
    """Of one of Leaven's own."""
    kind = registry().get(method)
    return kind is not None and (kind.learns_labels or kind.classifies)


def height(score: Any) -> float:
    """What arms are ordered by; a few-label curve counts by its last point, an absent score last."""
    if not score:
        return -1.0
    return headline(score[-1] if isinstance(score, list) else score)


def over_untrained(gain: Mapping[str, Any]) -> str:
    """A gain in words: 28.7 points over its untrained encoder (27.0 to 30.4)."""
    by, interval = f"{100 * headline(gain):.1f} points", gain["interval"]
    if interval is None:
        return f"{by} over its untrained encoder" if headline(gain) >= 0 else f"{by.removeprefix('-')} under its untrained encoder"
    bounds = f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"
    if interval[0] <= 0 <= interval[1]:
        return f"not distinguishable from its untrained encoder ({by}, {bounds})"
    return f"{by.removeprefix('-')} {'over' if interval[0] > 0 else 'under'} its untrained encoder ({bounds})"


def rate_of_passes(costs: Mapping[str, Any]) -> float:
    """Floating-point operations per second of the time that forward and backward passes take."""
    return costs["flops_per_second"] * sum(costs["time_split"].values()) / costs["time_split"][PASSES]


def cost_cells(costs: Mapping[str, Any]) -> list[str]:
    """steps, samples/s, CPU time, memory and FLOP/s as text."""
    texts = {
        "steps": lambda steps: f"{steps:,}",
        "samples_per_second": lambda rate: f"{rate:,.0f}",
        "cpu_seconds": lambda seconds: f"{seconds:,.0f} s",
        "peak_memory": lambda size: f"{size / 1e9:.2f} GB",
        "flops_per_second": magnitude,
    }
    return ["" if costs[name] is None else text(costs[name]) for name, text in texts.items()]


def magnitude(number: float) -> str:
    """Three figures and a unit prefix: 412 G."""
    for unit, name in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.3g} {name}"
    return f"{number:.3g}"


def time_in_words(seconds: float) -> str:
    return f"{seconds:g} seconds" if seconds < 120 else f"{seconds / 60:g} minutes"


def seeds_in_words(count: int) -> str:
    return "one seed" if count == 1 else f"{count} seeds"
