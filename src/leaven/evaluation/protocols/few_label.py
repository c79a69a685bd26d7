import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor

from leaven.errors import UserError
from leaven.evaluation.few_label import few_label_curve
from leaven.evaluation.floors import LABELS_ONLY, UNTRAINED, labels_only_curve
from leaven.evaluation.frozen import Features, FrozenProtocol
from leaven.evaluation.protocol import Chart, Point, Trial, percent
from leaven.modalities.floor import INPUT, floor_phrase

Curve = dict[int, Point]


@dataclass(frozen=True)
class FewLabels(FrozenProtocol):
    """Accuracy of a probe that sees only a few labels per class, beside the same encoder trained on these labels alone.

    counts: labels per class. draws: how many times labels are drawn for each count.
    """

    name = "few-label"
    title = "few labels"
    floors = (INPUT, UNTRAINED, LABELS_ONLY)
    rank = 3

    counts: tuple[int, ...] = (1, 2, 5, 10)
    draws: int = 10

    def __post_init__(self) -> None:
        if not self.counts or min(self.counts) < 1 or self.draws < 1:
            raise UserError(f"few-label needs counts and draws of 1 or more, not counts {list(self.counts)} and {self.draws} draws")

    def score(self, features: Features) -> Any:
        return few_label_curve(
            features.train, features.train_labels, features.test, features.test_labels,
            labels_per_class=self.counts, draws=self.draws, seed=features.seed,
        )  # fmt: skip

    def trained_floors(self, trial: Trial, score: Any, train: Tensor, test: Tensor) -> tuple[dict[str, Any], list[str]]:
        if LABELS_ONLY.name in trial.known_floors or (trial.budget is not None and trial.budget <= 0):
            return {}, []
        trial.say("training on the labels alone")
        data = trial.data if trial.data_role == "x" else trial.data.with_role(trial.data_role, "x")
        curve, notes = labels_only_curve(
            trial.encoder, data, train, test,
            labels_per_class=self.counts, target=score[-1]["accuracy"], budget=trial.budget, seed=trial.seed,
        )  # fmt: skip
        return ({LABELS_ONLY.name: curve} if curve else {}), notes

    def points(self, score: Any) -> dict[str, Point]:
        return {f"{labels(point['labels_per_class'])} per class": point for point in score}

    def rows(self, arms: Sequence[Any]) -> list[list[str]]:
        curves = [by_count(score or []) for score in arms]
        return [[f"{labels(count)} per class", *(self.cell(curve.get(count)) for curve in curves)] for count in sorted(set().union(*curves))]

    def sentence(self, score: Any, floors: Mapping[str, Any]) -> str | None:
        """What the pre-training is worth in labels.

        The pre-trained curve is compared with that of the labels alone, else with the best floor. At the largest count at which the two intervals do
        not touch, the other curve is read (log-linearly) where it reaches the same accuracy. Where that lies beyond the measured curve, a smaller
        count is used; if none can be read, the sentence says "more than".
        """
        ours, others = by_count(score), {name: curve for name, floor in floors.items() if (curve := by_count(floor))}
        if not ours or not others:
            return None
        reference = LABELS_ONLY.name
        if reference not in others:
            reference = max(others, key=lambda name: others[name][max(others[name])]["accuracy"])
        theirs = others[reference]
        shared = sorted(set(ours) & set(theirs))
        if not shared:
            return None
        last, than = shared[-1], floor_phrase(reference)
        better = [count for count in shared if ours[count]["interval"][0] > theirs[count]["interval"][1]]
        numbers = f"{percent(ours[last]['accuracy'])} against {percent(theirs[last]['accuracy'])} with {labels(last)} per class"
        if ours[last]["interval"][1] < theirs[last]["interval"][0]:
            verdict = f"This pre-training is worse than {than}: {numbers}"
            verdict += f", though better with {labels(better[-1])}." if better else "."
        elif not better:
            does = "do" if reference == LABELS_ONLY.name else "does"
            verdict = f"{than[0].upper()}{than[1:]} {does} as well: {numbers}, within the noise."
        else:
            verdict = gain(ours, theirs, better, reference)
        return verdict + floor_above(ours, {name: curve for name, curve in others.items() if name != reference})

    def figure(self, arms: Mapping[str, Any]) -> Chart:
        return Chart(
            "Accuracy with few labels",
            "The horizontal distance between the lines is what pre-training is worth in labels. Bars are 95 % intervals over draws of labels and "
            "test samples.",
            "labels per class",
            "test accuracy",
            {arm: [(count, point["accuracy"], point["interval"]) for count, point in sorted(by_count(score).items())] for arm, score in arms.items()},
            log=True,
        )


def by_count(score: Sequence[Point]) -> Curve:
    return {int(point["labels_per_class"]): point for point in score}


def labels(count: int) -> str:
    return "1 label" if count == 1 else f"{count} labels"


def gain(ours: Curve, theirs: Curve, better: Sequence[int], reference: str) -> str:
    """better: the counts at which ours is above theirs."""
    than = floor_phrase(reference)
    without = "without it" if reference == LABELS_ONLY.name else f"with {than}"

    def here(count: int) -> str:
        return f"With this pre-training, {labels(count)} per class {'does' if count == 1 else 'do'}"

    for count in reversed(better):
        needed = labels_needed(theirs, ours[count]["accuracy"])
        if math.isfinite(needed):
            if round(needed) > count:
                return f"{here(count)} as well as {round(needed)} {without}."
            numbers = f"{percent(ours[count]['accuracy'])} against {percent(theirs[count]['accuracy'])} with {labels(count)} per class"
            return f"This pre-training is a little better than {than}: {numbers}."
    count, most = better[-1], max(theirs)
    numbers = f"{percent(ours[count]['accuracy'])} against {percent(theirs[most]['accuracy'])} with {most}"
    return f"{here(count)} as well as more than {most} {without}: {numbers}."


def floor_above(ours: Curve, others: Mapping[str, Curve]) -> str:
    """A sentence about the best other floor that beats the encoder at its largest count; empty where none does."""
    last = max(ours)
    above = {name: curve[last] for name, curve in others.items() if last in curve and curve[last]["interval"][0] > ours[last]["interval"][1]}
    if not above:
        return ""
    best = max(above, key=lambda name: above[name]["accuracy"])
    numbers = f"{percent(above[best]['accuracy'])} against {percent(ours[last]['accuracy'])} with {labels(last)} per class"
    return f" But {floor_phrase(best)} gives more: {numbers}."


def labels_needed(curve: Mapping[int, Point], accuracy: float) -> float:
    """Labels per class at which a few-label curve reaches an accuracy: linear in accuracy over log labels, after making the curve rise.

    Below the curve: its smallest count. Above all of it: inf.
    """
    counts = sorted(curve)
    rising, best = [], -math.inf
    for count in counts:
        best = max(best, curve[count]["accuracy"])
        rising.append(best)
    if accuracy <= rising[0]:
        return float(counts[0])
    for (low, at_low), (high, at_high) in pairwise(zip(counts, rising, strict=True)):
        if accuracy <= at_high:
            share = (accuracy - at_low) / (at_high - at_low)
            return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    return math.inf
