import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from leaven.errors import UserError
from leaven.evaluation.floors import LABELS_ONLY, UNTRAINED, labels_only
from leaven.evaluation.frozen import Features, FrozenProtocol
from leaven.evaluation.intervals import crossed_interval
from leaven.evaluation.protocol import Chart, Point, Trial, percent
from leaven.evaluation.protocols.linear import fit_logistic, standardisation
from leaven.modalities.floor import INPUT, floor_phrase

Curve = dict[int, Point]
PENALTY = 1.0
NUMBERS_AT_ONCE = 2**24  # of the labeled features of all draws together, in float64
LARGE, DRAWS_OF_LARGE = 2**28, 3  # numbers times classes from which a fit takes seconds, and the draws that are made then
FLOOR_DRAWS, FLOOR_STEPS = 3, 200
TRIED_STEPS = 1, 4  # by which the time of a floor is known beforehand


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
        if not self.counts or not all(1 <= number <= 10**6 for number in (*self.counts, self.draws)):
            raise UserError(f"few-label needs counts and draws from 1 to 1,000,000, not counts {list(self.counts)} and {self.draws} draws")

    def score(self, features: Features) -> Any:
        """[{labels_per_class, accuracy, interval, draws}] with a note where a class had fewer samples, or fewer draws were made.

        For each draw the labeled samples of `label_draws` are fitted by logistic regression and all test samples are scored. Arms with the same
        labels and seed see the same draws, so their differences are paired. Features are centred by the mean of all training samples, labeled or not,
        and divided by one number, their root mean variance: a user who has few labels has the other inputs too. (Each feature by its own deviation
        blows up rare pixels: raw 8x8 digits then reach 62 % with one label per class instead of 65 %.) Nothing is tuned, since one label leaves
        nothing to tune on.
        """
        known = features.labeled()
        center, deviation = standardisation(features.train)
        scale = deviation.square().mean().sqrt()
        train, test = (features.train.float() - center) / scale, (known.test.float() - center) / scale
        curve = []
        for count in self.counts:
            rows = torch.stack(label_draws(features.train_labels, count, self.draws, features.seed))
            large = rows.shape[1] * train.shape[1] * features.classes > LARGE
            rows = rows[:DRAWS_OF_LARGE] if large else rows
            predictions = few_label_predictions(train[rows], features.train_labels[rows], test, classes=features.classes, exact=not large)
            curve.append(few_label_point(predictions == known.test_labels, count, features.train_labels))
            if len(rows) < self.draws:
                few = f"{len(rows)} draws of {self.draws}: each takes seconds with {features.classes:,} classes"
                curve[-1]["note"] = "; ".join(filter(None, [curve[-1].get("note"), few]))
        return curve

    def trained_floors(self, trial: Trial, score: Any, train: Tensor, test: Tensor) -> tuple[dict[str, Any], list[str]]:
        """The curve of training on the labels alone.

        After the counts that were asked for it goes on, doubling, until it reaches the accuracy of pre-training: how many labels do the same work?
        What does not fit the budget is left out and named: the first count by what a few of its steps take, the others by the time of the one before.
        """
        if LABELS_ONLY.name in trial.known_floors or (trial.budget is not None and trial.budget <= 0):
            return {}, []
        trial.say("training on the labels alone")
        data = trial.data if trial.data_role == "x" else trial.data.with_role(trial.data_role, "x")
        labels, most = data.rows.label[train], max(self.counts)
        test = test[data.rows.label[test] >= 0]
        largest_class = int(labels[labels >= 0].bincount().max())
        doubled = [most * 2**power for power in range(1, 32) if most * 2**power <= largest_class]
        curve: list[dict[str, Any]] = []
        notes, started, spent = [], time.monotonic(), 0.0

        def train_on(rows: Tensor, number: int, steps: int) -> Tensor:
            return labels_only(trial.encoder, data, train[rows], test, seed=trial.seed + number, steps=steps)

        def seconds_of(rows: Tensor, steps: int) -> float:
            clock = [time.monotonic()]
            for few in TRIED_STEPS:
                train_on(rows, 0, few)
                clock.append(time.monotonic())
            begin, end = clock[1] - clock[0], clock[2] - clock[1]
            return begin + max(0.0, end - begin) / (TRIED_STEPS[1] - TRIED_STEPS[0]) * steps

        for count in (*self.counts, *doubled):
            if count > most and max(point["accuracy"] for point in curve) >= score[-1]["accuracy"]:
                break
            drawn = label_draws(labels, count, FLOOR_DRAWS, trial.seed)
            steps = FLOOR_STEPS * max(1, len(drawn[0]) // 1000)
            if trial.budget is not None and not curve:
                spent = len(drawn) * seconds_of(drawn[0], steps)
            begin = time.monotonic()
            if trial.budget is not None and begin - started + spent > trial.budget:
                left = "the counts that were asked for" if count <= most else "larger counts"
                limit = f"{left} would exceed the budget of {trial.budget:.0f} seconds"
                notes.append(f"the floor `labels only` stops before {count} labels per class: {limit}")
                break
            correct = torch.stack([train_on(rows, number, steps) for number, rows in enumerate(drawn)])
            curve.append(few_label_point(correct, count, labels))
            spent = time.monotonic() - begin
        return ({LABELS_ONLY.name: curve} if curve else {}), notes

    def rows(self, arms: Sequence[Any]) -> list[list[str]]:
        curves = [by_count(score or []) for score in arms]
        return [[labels_per_class(count), *(self.cell(curve.get(count)) for curve in curves)] for count in sorted(set().union(*curves))]

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
        if ours[last]["interval"][1] < theirs[last]["interval"][0]:
            verdict = f"This pre-training is worse than {than}: {against(ours, theirs, last)}"
            verdict += f", though better with {labels(better[-1])}." if better else "."
        elif not better:
            does = "do" if reference == LABELS_ONLY.name else "does"
            verdict = f"{than[0].upper()}{than[1:]} {does} as well: {against(ours, theirs, last)}, within the noise."
        else:
            verdict = gain(ours, theirs, better, reference)
        return verdict + floor_above(ours, {name: curve for name, curve in others.items() if name != reference})

    def point(self, score: Any) -> Point | None:
        return max(score, key=lambda point: point["labels_per_class"], default=None)

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


def labels_per_class(count: int) -> str:
    return f"{labels(count)} per class"


def against(curve: Curve, other: Curve, count: int) -> str:
    return f"{percent(curve[count]['accuracy'])} against {percent(other[count]['accuracy'])} with {labels_per_class(count)}"


def gain(ours: Curve, theirs: Curve, better: Sequence[int], reference: str) -> str:
    """better: the counts at which ours is above theirs."""
    than = floor_phrase(reference)
    without = "without it" if reference == LABELS_ONLY.name else f"with {than}"

    def here(count: int) -> str:
        return f"With this pre-training, {labels_per_class(count)} {'does' if count == 1 else 'do'}"

    for count in reversed(better):
        needed = labels_needed(theirs, ours[count]["accuracy"])
        if math.isfinite(needed):
            if round(needed) > count:
                return f"{here(count)} as well as {round(needed)} {without}."
            return f"This pre-training is a little better than {than}: {against(ours, theirs, count)}."
    count, most = better[-1], max(theirs)
    numbers = f"{percent(ours[count]['accuracy'])} against {percent(theirs[most]['accuracy'])} with {most}"
    return f"{here(count)} as well as more than {most} {without}: {numbers}."


def floor_above(ours: Curve, others: Mapping[str, Curve]) -> str:
    """A sentence about the best other floor that beats the encoder at its largest count; empty where none does."""
    last = max(ours)
    above = [name for name, curve in others.items() if last in curve and curve[last]["interval"][0] > ours[last]["interval"][1]]
    best = max(above, key=lambda name: others[name][last]["accuracy"], default=None)
    return "" if best is None else f" But {floor_phrase(best)} gives more: {against(others[best], ours, last)}."


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


def label_draws(labels: Int64[Tensor, "n"], labels_per_class: int, draws: int, seed: int = 0) -> list[Int64[Tensor, "labeled"]]:
    """Rows of the labeled samples of each draw: `labels_per_class` of every class, or all that a class has; -1 (none) is never drawn.

    A draw depends on the seed and its number alone, and its rows for fewer labels are among its rows for more, so curves are smooth and arms
    comparable.
    """
    drawn = []
    for number in range(draws):
        shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed * 100_003 + number))
        by_class = shuffled[labels[shuffled].argsort(stable=True)]
        of_class = labels[by_class]
        first = torch.searchsorted(of_class, of_class)
        rank = torch.arange(len(labels)) - first
        drawn.append(by_class[(rank < labels_per_class) & (of_class >= 0)])
    return drawn


def few_label_predictions(
    features: Float[Tensor, "draws labeled dim"],
    labels: Int64[Tensor, "draws labeled"],
    test_features: Float[Tensor, "test dim"],
    *,
    classes: int,
    exact: bool = True,
) -> Int64[Tensor, "draws test"]:
    """Logistic regression on each draw of standardised features; (draws, test) predicted classes on the CPU.

    The objective is scikit-learn's at C = 1: summed cross-entropy + |weight|^2 / 2, bias free. Fitted in float64, in the space that the labeled
    samples span (the solution has no part outside it), all draws by one L-BFGS; `exact` False: in float32, to a thousandth of the gradient.
    """
    _, labeled, dim = features.shape
    together = max(1, NUMBERS_AT_ONCE // (labeled * dim))
    predictions = []
    for x, y in zip(features.split(together), labels.split(together), strict=True):
        basis, coordinates = torch.linalg.qr(x.to(torch.float64 if exact else torch.float32).mT)
        tolerance = 1e-6 if exact else 1e-3
        fit = fit_logistic(coordinates.mT.contiguous(), y, classes=classes, l2=PENALTY / labeled, tolerance=tolerance)
        weight, bias = (basis @ fit.weight).float(), fit.bias.float()
        for one_weight, one_bias in zip(weight, bias, strict=True):
            predictions.append((test_features.float() @ one_weight + one_bias).argmax(dim=1))
    return torch.stack(predictions)


def few_label_point(correct: Shaped[Tensor, "draws test"], labels_per_class: int, train_labels: Int64[Tensor, " train"]) -> dict[str, Any]:
    """One point of a few-label curve from what each draw got right: {labels_per_class, accuracy, interval, draws}, perhaps a note."""
    point: dict[str, Any] = {"labels_per_class": labels_per_class, "accuracy": correct.double().mean().item()}
    point |= {"interval": list(crossed_interval(correct)), "draws": len(correct)}
    sizes = train_labels[train_labels >= 0].bincount()
    if short := int(((sizes > 0) & (sizes < labels_per_class)).sum()):
        point["note"] = f"{short} of {int((sizes > 0).sum())} classes have fewer than {labels_per_class} training samples and give what they have"
    return point
