import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from leaven.errors import UserError
from leaven.evaluation.auc import margin, with_auc
from leaven.evaluation.floors import LABELS_ONLY, MAJORITY, UNTRAINED, trained_on_labels
from leaven.evaluation.forest import FOREST, forest_scores
from leaven.evaluation.frozen import Features, FrozenProtocol
from leaven.evaluation.gains import PerSample
from leaven.evaluation.intervals import crossed_interval, unpaired_difference
from leaven.evaluation.protocol import Chart, Trial, summed_up_floors, titled
from leaven.evaluation.protocols.linear import standardisation
from leaven.evaluation.sentences import AUC, Point, about, gain_over, labels_per_class, percent, summed_up
from leaven.modalities.floor import INPUT, FloorName
from leaven.modules.probes import FIRST, PROBES, Fit, choose_probe

Curve = dict[int, Point]
NUMBERS_AT_ONCE = 2**24  # of the labeled features of all draws together, in float64
LARGE = 2**26  # of these numbers times classes of one draw, from which the choice of a probe takes seconds
FLOOR_DRAWS, FLOOR_STEPS = 3, 200
TRIED_STEPS = 1, 9  # by which the time of a floor is known beforehand


@dataclass(frozen=True)
class FewLabels(FrozenProtocol):
    """Accuracy of the best probe for a few labels per class, beside the same encoder trained on these labels alone.

    counts: labels per class. draws: how many times labels are drawn for each count.
    """

    name = "few-label"
    title = "few labels"
    floors: ClassVar[tuple[FloorName, ...]] = (INPUT, UNTRAINED, MAJORITY, LABELS_ONLY)
    probes: ClassVar[tuple[str, ...]] = (FOREST,)
    rank = 2

    counts: tuple[int, ...] = (1, 2, 5, 10)
    draws: int = 10

    def __post_init__(self) -> None:
        if not self.counts or not all(1 <= number <= 10**6 for number in (*self.counts, self.draws)):
            raise UserError(f"few-label needs counts and draws from 1 to 1,000,000, not counts {list(self.counts)} and {self.draws} draws")

    def score(self, features: Features) -> Any:
        """[{labels_per_class, accuracy, interval, draws, probe}], of two classes also the AUC, with a note where a class had fewer samples, or one
        probe alone was fitted.

        For each draw the labeled samples of `label_draws` are fitted by the best of several probes, chosen by cross-validation on these labels, and
        all test samples are scored. probe: in how many draws each was chosen; with one label per class nothing can be cross-validated, and the first
        probe is used. Arms with the same labels and seed see the same draws, so their differences are paired. Features are centred by the mean of all
        training samples, labeled or not, and divided by one number, their root mean variance: a user who has few labels has the other inputs too.
        (Each feature by its own deviation blows up rare pixels: raw 8x8 digits then reach 62 % with one label per class instead of 65 %.)
        """
        known = features.labeled()
        if features.probe == FOREST:
            return self.by_forest(features)
        center, deviation = standardisation(features.train)
        scale = deviation.square().mean().sqrt()
        train, test = (features.train.float() - center) / scale, (known.test.float() - center) / scale
        curve = []
        for count in self.counts:
            rows = torch.stack(label_draws(features.train_labels, count, self.draws, features.seed))
            large = rows.shape[1] * train.shape[1] * features.classes > LARGE
            predictions, margins, probes = few_label_predictions(
                train[rows],
                features.train_labels[rows[0]],
                test,
                classes=features.classes,
                probes=FIRST if large else PROBES,
                groups=None if features.groups is None else features.groups[rows],
            )
            point = few_label_point(predictions == known.test_labels, count, features.train_labels, known.test_groups)
            point = with_auc(point, margins, known.test_labels, groups=known.test_groups)
            if large:
                why = f"{next(iter(FIRST))} was not compared with other probes: that takes seconds with {features.classes:,} classes"
                point["note"] = "; ".join(filter(None, [point.get("note"), why]))
            curve.append({**point, "probe": dict(Counter(probes).most_common())})
        return curve

    def by_forest(self, features: Features) -> Any:
        """The same curve of a random forest, from the same draws of labels."""
        known, curve = features.labeled(), []
        labels, truth = features.train_labels, known.test_labels
        for count in self.counts:
            draws = enumerate(label_draws(labels, count, self.draws, features.seed))
            shares = [forest_scores(features.train[rows], labels[rows], known.test, classes=features.classes, seed=number) for number, rows in draws]
            scores = torch.stack(shares)
            point = few_label_point(scores.argmax(2) == truth, count, labels, known.test_groups)
            curve.append(with_auc(point, margin(scores), truth, groups=known.test_groups))
        return curve

    def majority(self, features: Features) -> Any:
        return [{"labels_per_class": count, **super(FewLabels, self).majority(features)} for count in self.counts]

    def trained_floors(self, trial: Trial, score: Any, train: Tensor, test: Tensor) -> tuple[dict[str, Any], list[str]]:
        """The curve of training on the labels alone.

        The largest count says the most and comes first. After the counts that were asked for it goes on, doubling, until it reaches the accuracy of
        pre-training: how many labels do the same work? What does not fit the budget is left out and named: the first count by what a few of its steps
        take, the others by the time that a step of the one before took.
        """
        budget = trial.left
        if LABELS_ONLY not in self.floors or LABELS_ONLY.name in trial.known_floors or budget == 0:
            return {}, []
        trial.say("training on the labels alone")
        data = trial.data if trial.data_role == "x" else trial.data.with_role(trial.data_role, "x")
        labels, most = data.rows.label[train], max(self.counts)
        reached, measure = (own := by_count(score)[most])[self.measure(own)], self.measure(own)
        test = test[data.rows.label[test] >= 0]
        truth, groups = data.rows.label[test], data.groups[test]
        largest_class = int(labels[labels >= 0].bincount().max())
        doubled = [most * 2**power for power in range(1, 32) if most * 2**power <= largest_class]
        curve: list[dict[str, Any]] = []
        notes, started, a_step = [], time.monotonic(), 0.0

        def train_on(rows: Tensor, number: int, steps: int) -> Tensor:
            return trained_on_labels(trial.encoder, data, train[rows], test, seed=trial.seed + number, steps=steps)

        def seconds_of(rows: Tensor, steps: int) -> float:
            clock = []
            for tried in (1, *TRIED_STEPS):  # the first of all loads what the others have then
                train_on(rows, 0, tried)
                clock.append(time.monotonic())
            few, more = clock[1] - clock[0], clock[2] - clock[1]
            return few + max(0.0, more - few) / (TRIED_STEPS[1] - TRIED_STEPS[0]) * steps

        for count in (*sorted(self.counts, reverse=True), *doubled):
            if count > most and max(point[measure] for point in curve) >= reached:
                break
            drawn = label_draws(labels, count, FLOOR_DRAWS, trial.seed)
            steps = self.steps(len(drawn[0]))
            if budget is not None and not curve:
                a_step = seconds_of(drawn[0], steps) / steps
            begin = time.monotonic()
            if budget is not None and begin - started + len(drawn) * steps * a_step > budget:
                more = "more" if count > most else "fewer"
                limit = f"that would take longer than the {budget:.0f} s that are left for it"
                notes.append(f"the floor `labels only` is not measured with {labels_per_class(count)} or {more}: {limit}")
                break
            logits = torch.stack([train_on(rows, number, steps) for number, rows in enumerate(drawn)])
            point = few_label_point(logits.argmax(2) == truth, count, labels, groups)
            curve.append(with_auc(point, margin(logits), truth, groups=groups))
            a_step = (time.monotonic() - begin) / len(drawn) / steps
        curve.sort(key=lambda point: point["labels_per_class"])
        return ({LABELS_ONLY.name: curve} if curve else {}), notes

    def steps(self, labels: int) -> int:
        """Of a training on so many labels."""
        return FLOOR_STEPS * max(1, labels // 1000)

    def rows(self, arms: Sequence[Any]) -> list[list[str]]:
        curves = [by_count(score or []) for score in arms]
        points = {count: [curve.get(count) for curve in curves] for count in sorted(set().union(*curves))}
        return [[titled(labels_per_class(count), at_count), *map(self.cell, at_count)] for count, at_count in points.items()]

    def summary(self, score: Any, floors: Mapping[str, Any]) -> tuple[Point, Mapping[str, Point], str]:
        """At the largest count."""
        last = max(ours := by_count(score))
        there = {name: curve[last] for name, floor in floors.items() if last in (curve := by_count(floor))}
        own = ours[last]
        return summed_up(own), summed_up_floors(there, self.measure(own)), titled(labels_per_class(last), [own])

    def second_sentence(self, score: Any, floors: Mapping[str, Any]) -> str | None:
        """What the pre-training is worth in labels, at the largest count: beside the curve of the labels alone.

        Where the two can be told apart by an interval that is no wider than their difference, that curve is read (log-linearly) where it reaches the
        same accuracy.
        """
        ours, theirs = ({count: summed_up(point) for count, point in by_count(curve).items()} for curve in (score, floors.get(LABELS_ONLY.name, [])))
        if not theirs:
            return None
        last = max(ours)
        if last not in theirs:
            return f"What your labels alone give with {labels_per_class(last)} was not measured."
        own, alone, measure = ours[last], theirs[last], self.measure(ours[last])
        gain, place = gain_over(LABELS_ONLY.name, own, alone, measure), f"With {labels_per_class(last)}"
        own_share, their_share = percent(own[measure]), percent(alone[measure])
        if gain.worse:
            return f"{place} your labels alone do better: {their_share} against {own_share}."
        if not gain.better:
            return f"{place} it cannot be told apart from your labels alone ({own_share} against {their_share}){gain.would_tell(self.tested_on)}."
        needed, most = labels_needed({count: point[measure] for count, point in theirs.items()}, own[measure]), max(theirs)
        if gain.sharp and math.isfinite(needed) and round(needed) > last:
            return f"{place} it does as well as about {about(needed)} without it."
        above = unpaired_difference(own[measure], own["interval"], theirs[most][measure], theirs[most]["interval"])["interval"][0] > 0
        if most > last and math.isinf(needed) and above:
            return f"{place} it does better than {most} do without it: {own_share} against {percent(theirs[most][measure])}."
        return f"{place} it does better than your labels alone: {own_share} against {their_share}."

    def point(self, score: Any) -> Point | None:
        last = max(score, key=lambda point: point["labels_per_class"], default=None)
        return None if last is None else summed_up(last)

    def figure(self, arms: Mapping[str, Any]) -> Chart:
        """Without the commonest class, whose flat line far below would take the room of the others."""
        area = any(point.get("measure") == AUC for score in arms.values() for point in score)
        return Chart(
            f"{'AUC' if area else 'Accuracy'} with few labels",
            "The horizontal distance between the lines is what pre-training is worth in labels. Bars are 95 % intervals over draws of labels and "
            "test samples.",
            "labels per class",
            "AUC of test samples" if area else "test accuracy",
            {
                arm: [(count, point[self.measure(point)], summed_up(point)["interval"]) for count, point in sorted(by_count(score).items())]
                for arm, score in arms.items()
                if arm != MAJORITY.title
            },
            log=True,
        )


def by_count(score: Sequence[Point]) -> Curve:
    return {int(point["labels_per_class"]): point for point in score}


def labels_needed(curve: Mapping[int, float], accuracy: float) -> float:
    """Labels per class at which a few-label curve reaches an accuracy, or AUC: linear in it over log labels, after making the curve rise.

    Below the curve: its smallest count. Above all of it: inf.
    """
    counts = sorted(curve)
    rising, best = [], -math.inf
    for count in counts:
        best = max(best, curve[count])
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
    labels: Int64[Tensor, " labeled"],
    test_features: Float[Tensor, "test dim"],
    *,
    classes: int,
    probes: Mapping[str, Fit] = PROBES,
    groups: Int64[Tensor, "draws labeled"] | None = None,
) -> tuple[Int64[Tensor, "draws test"], Float[Tensor, "draws test"] | None, list[str]]:
    """What the best of some probes predicts for the test samples in each draw, of two classes by which margin, and the name of that probe. Draws have
    the same labels.

    `choose_probe` chooses in each draw by its labels alone. Fitted in the space that the labeled samples span (no solution has a part outside it),
    many draws at once.
    """
    _, labeled, dim = features.shape
    one_hot, everyone = F.one_hot(labels, classes), torch.ones(1, labeled)
    predictions, margins, names = [], list[Tensor](), []
    for place in torch.arange(len(features)).split(max(1, NUMBERS_AT_ONCE // (labeled * dim))):
        basis, coordinates = torch.linalg.qr(features[place].double().mT)
        x = coordinates.mT.contiguous()
        choice = choose_probe(x.float(), labels, classes=classes, probes=probes, groups=None if groups is None else groups[place])
        chosen = torch.zeros(len(place), dtype=torch.int64) if choice is None else choice.probe
        for number, row in enumerate(chosen.tolist()):
            name = list(probes)[row]
            fit = probes[name](x[number : number + 1], one_hot.double(), everyone.double()).spread(basis[number : number + 1])
            scores = fit.scores(test_features)[0]
            predictions.append(scores.argmax(dim=1))
            if (above := margin(scores)) is not None:
                margins.append(above)
            names.append(name)
    return torch.stack(predictions), torch.stack(margins) if margins else None, names


def few_label_point(
    correct: Shaped[Tensor, "draws test"], labels_per_class: int, train_labels: Int64[Tensor, " train"], groups: Int64[Tensor, " test"] | None = None
) -> dict[str, Any]:
    """One point of a few-label curve from what each draw got right: {labels_per_class, accuracy, interval, draws, per_sample}, perhaps a note."""
    point: dict[str, Any] = {"labels_per_class": labels_per_class, "accuracy": correct.double().mean().item()}
    point |= {"interval": list(crossed_interval(correct, groups=groups)), "draws": len(correct), "per_sample": PerSample(correct, groups)}
    sizes = train_labels[train_labels >= 0].bincount()
    if short := int(((sizes > 0) & (sizes < labels_per_class)).sum()):
        point["note"] = f"{short} of {int((sizes > 0).sum())} classes have fewer than {labels_per_class} training samples and give what they have"
    return point
