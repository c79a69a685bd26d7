"""What an encoder is worth: its scores, the floors beside them, and one sentence in plain words."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Self

from leaven.errors import UserError

FLOOR_NAMES = {
    "input": "raw input", "untrained": "untrained encoder", "frozen": "frozen probe", "labels-only": "labels only", "real": "real samples",
    "gaussian": "a Gaussian", "characters": "tf-idf of characters", "words": "mean of word vectors",
}  # fmt: skip
PROTOCOL_NAMES = {
    "knn": "nearest neighbours", "linear": "linear probe", "few-label": "few labels", "retrieval": "retrieval (mAP)", "classifier": "classifier",
    "clusters": "clusters (V-measure)", "samples": "samples", "sts": "similarity (Spearman)", "pairs": "pairs (mean reciprocal rank)",
}  # fmt: skip
CLASSIFIER_ROWS = {"balanced_accuracy": "balanced accuracy", "calibration_error": "calibration error"}
AMONG_FIRST = (
    ("retrieval", "precision", "precision at"), ("retrieval", "ndcg", "nDCG at"),
    ("pairs", "recall", "found among the first"), ("pairs", "ndcg", "nDCG at"),
)  # fmt: skip
SAMPLE_ROWS = {
    "precision": "precision: samples like real ones",
    "recall": "recall: real ones like samples",
    "density": "density",
    "coverage": "coverage: real ones with a sample near",
    "frechet_distance": "Fréchet distance of the judge's features",
    "recognised": "of the class that is asked for",
}

Scores = dict[str, Any]
Point = Mapping[str, Any]


@dataclass
class Scorecard:
    """Scores of one encoder on one data set, in the JSON shapes that `leaven evaluate --json` promises.

    scores: {protocol: {accuracy, interval: [low, high], ...}}; "few-label" is a list of {labels_per_class, accuracy, interval}. Fractions 0-1.
    floors: {"input" | "untrained" | "frozen" | "labels-only": the same shape as scores}; of samples, "gaussian", and their ceiling "real"; "pca N" or
    "lsa N", a linear code of N numbers. notes: what a reader of the numbers must know.
    """

    method: str
    encoder: str
    data: str
    scores: Scores = field(default_factory=dict)
    floors: dict[str, Scores] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, with the sentence beside them."""
        return {**dataclasses.asdict(self), "sentence": self.sentence()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; the sentence is computed anew. Unknown keys raise UserError."""
        names = {item.name for item in dataclasses.fields(cls)}
        unknown = sorted(set(values) - names - {"sentence"})
        if unknown:
            raise UserError(f"a scorecard has no {', '.join(unknown)}", hint="it may come from a newer Leaven")
        return cls(**{name: value for name, value in values.items() if name in names})

    def sentence(self) -> str:
        """What the pre-training is worth in labels.

        The pre-trained few-label curve is set against that of the same encoder trained on the labels alone, else against the best floor. At the
        largest label count at which the two intervals do not touch, the other curve is read (log-linearly) where it reaches the same accuracy;
        counts whose equal lies beyond the measured curve give way to a smaller one that can be read, and are told as "more than" when there is
        none.
        """
        if "classifier" in self.scores:
            return self._classifier()
        if "samples" in self.scores:
            rest = dataclasses.replace(self, scores={name: score for name, score in self.scores.items() if name != "samples"})
            return " ".join([*([rest.sentence()] if rest.scores else []), self._samples()])
        ours = _curve(self.scores)
        reference = self._reference()
        if not ours or reference is None:
            return self._without_curves()
        theirs = _curve(self.floors[reference])
        shared = sorted(set(ours) & set(theirs))
        if not shared:
            return self._without_curves()
        last = shared[-1]
        better = [count for count in shared if ours[count]["interval"][0] > theirs[count]["interval"][1]]
        against = f"{percent(ours[last])} against {percent(theirs[last])} at {_labels(last)} a class"
        if ours[last]["interval"][1] < theirs[last]["interval"][0]:
            told = f"This pre-training is worse than {_than(reference)}: {against}"
            told += f", though better with {_labels(better[-1])}." if better else "."
        elif not better:
            does = "do" if reference == "labels-only" else "does"
            told = f"{_than(reference).capitalize()} {does} as well: {against}, within the noise."
        else:
            told = self._gain(ours, theirs, better, reference)
        return told + self._floor_above(ours, reference)

    def table(self) -> list[list[str]]:
        """Rows of text, the head first: a protocol or a label count, the encoder's score with its interval, each floor's. Missing cells are empty."""
        floors = [name for name in FLOOR_NAMES if name in self.floors] + [name for name in self.floors if name not in FLOOR_NAMES]
        arms = [self.scores, *(self.floors[name] for name in floors)]
        classifier = self.scores.get("classifier", {})
        head = "fine-tuned" if classifier else "generated" if set(self.scores) == {"samples"} else "pre-trained"
        rows = [["", head, *(FLOOR_NAMES.get(name, name) for name in floors)]]
        for protocol in dict.fromkeys(name for arm in arms for name in arm if name not in ("few-label", "samples")):
            rows.append([PROTOCOL_NAMES.get(protocol, protocol), *(cell(arm.get(protocol)) for arm in arms)])
        for name, told in CLASSIFIER_ROWS.items():
            if name in classifier:
                rows.append([told, percent(classifier[name]), *("" for _ in floors)])
        for protocol, measure, told in AMONG_FIRST:
            for place, first in enumerate(self.scores.get(protocol, {}).get(measure, [])):
                rows.append([f"{told} {first['at']}", *(_point_cell(arm.get(protocol), measure, place) for arm in arms)])
        sampled = [arm.get("samples", {}) for arm in arms]
        for name, told in SAMPLE_ROWS.items():
            if name in sampled[0]:
                rows.append([told, *(measure_cell(name, arm.get(name)) for arm in sampled)])
        curves = [_curve(arm) for arm in arms]
        for count in sorted(set().union(*curves)):
            rows.append([f"{_labels(count)} a class", *(cell(curve.get(count)) for curve in curves)])
        return rows

    def text(self) -> str:
        """The table and the sentence for a terminal or a log file, columns aligned."""
        rows = self.table()
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([f"{self.method}, {self.encoder}, {self.data}", "", *lines, "", self.sentence(), *(f"Note: {note}" for note in self.notes)])

    def _classifier(self) -> str:
        """What fine-tuning gives, against everything else that the same labels give."""
        ours = self.scores["classifier"]
        told = f"Of {ours['samples']:,} test samples this classifier names {percent(ours)} rightly"
        floors = {name: self.floors[name]["classifier"] for name in _INSTEAD if "classifier" in self.floors.get(name, {})}
        if not floors:
            return f"{told}; no floor was measured, so what fine-tuning adds cannot be told."
        told += "; the same labels give " + ", ".join(f"{percent(floor)} {_INSTEAD[name]}" for name, floor in floors.items()) + "."
        best = max(floors, key=lambda name: floors[name]["accuracy"])
        if floors[best]["interval"][0] > ours["interval"][1]:
            return f"{told} It is worse than what they give {_INSTEAD[best]}."
        return told if ours["interval"][0] > floors[best]["interval"][1] else f"{told} Against the best of these the difference is within the noise."

    def _samples(self) -> str:
        """What a judge finds in generated samples, beside the ceiling and the floor."""
        ours, real, floor = self.scores["samples"], self.floors["real"]["samples"], self.floors["gaussian"]["samples"]

        def beside(name: str) -> str:
            return ", ".join(percent(arm[name]["value"]) for arm in (real, floor))

        told = f"To the judge {percent(ours['precision']['value'])} of {ours['generated']:,} samples look real (real ones and those of a Gaussian: "
        told += f"{beside('precision')}), and {percent(ours['coverage']['value'])} of the real ones have such a sample near ({beside('coverage')})."
        if ours["coverage"]["interval"][0] <= floor["coverage"]["interval"][1]:
            told += " A Gaussian with the mean and covariance of the data covers as much."
        if "recognised" in ours:
            right = f"; it names {percent(real['recognised']['value'])} of real ones rightly" if "recognised" in real else ""
            told += f" It recognises {percent(ours['recognised']['value'])} as the class that was asked for{right}."
        missing = ours["missing"]
        return f"{told} Hardly ever made: {', '.join(missing)}." if missing else f"{told} No class is missing."

    def _reference(self) -> str | None:
        """The floor that the sentence compares with: the labels alone, else the floor that is best at its largest label count."""
        curves = {name: curve for name, scores in self.floors.items() if (curve := _curve(scores))}
        if "labels-only" in curves:
            return "labels-only"
        return max(curves, key=lambda name: curves[name][max(curves[name])]["accuracy"], default=None)

    def _gain(self, ours: dict[int, Point], theirs: dict[int, Point], better: list[int], reference: str) -> str:
        without = _WITHOUT.get(reference, f"with {_than(reference)}")
        for count in reversed(better):
            needed = labels_needed(theirs, ours[count]["accuracy"])
            if math.isfinite(needed):
                if round(needed) > count:
                    return f"{_here(count)} as well as {round(needed)} {without}."
                against = f"{percent(ours[count])} against {percent(theirs[count])} at {_labels(count)} a class"
                return f"A little better than {_than(reference)}: {against}."
        count, most = better[-1], max(theirs)
        return f"{_here(count)} as well as more than {most} {without}: {percent(ours[count])} against {percent(theirs[most])} at {most}."

    def _floor_above(self, ours: dict[int, Point], reference: str) -> str:
        """A floor other than the reference that beats the encoder is not passed over in silence."""
        last = max(ours)
        above = {name: curve[last] for name in self.floors if name != reference and last in (curve := _curve(self.floors[name]))}
        above = {name: point for name, point in above.items() if point["interval"][0] > ours[last]["interval"][1]}
        if not above:
            return ""
        name = max(above, key=lambda floor: above[floor]["accuracy"])
        return f" But {_than(name)} gives more: {percent(above[name])} against {percent(ours[last])} at {_labels(last)} a class."

    def _without_curves(self) -> str:
        """One protocol that both have, when there is no few-label curve to read labels from."""
        for protocol in ("linear", "knn", *self.scores):
            ours = self.scores.get(protocol)
            if protocol == "few-label" or not isinstance(ours, Mapping) or measure_of(ours) is None:
                continue
            floors = {name: scores[protocol] for name, scores in self.floors.items() if measure_of(scores.get(protocol, {}))}
            label = PROTOCOL_NAMES.get(protocol, protocol)
            if not floors:
                return f"{label.capitalize()}: {percent(ours)}; no floor was measured, so what the pre-training adds cannot be told."
            name = max(floors, key=lambda floor: headline(floors[floor]))
            told = f"{percent(ours)} against {percent(floors[name])} ({label})"
            if ours["interval"][0] > floors[name]["interval"][1]:
                return f"This pre-training is better than {_than(name)}: {told}."
            if ours["interval"][1] < floors[name]["interval"][0]:
                return f"This pre-training is worse than {_than(name)}: {told}."
            return f"This pre-training is no better than {_than(name)}: {told}, within the noise."
        return "There are no labels, so what this pre-training is worth cannot be told; a few labels (--labels) are enough to tell."


def joined(cards: Sequence[Scorecard]) -> Scorecard:
    """One card with the scores and floors of several of the same encoder and data, whose protocols differ."""
    first, *rest = cards
    for card in rest:
        floors = {name: first.floors.get(name, {}) | card.floors.get(name, {}) for name in dict.fromkeys([*first.floors, *card.floors])}
        notes = list(dict.fromkeys([*first.notes, *card.notes]))
        first = dataclasses.replace(first, scores=first.scores | card.scores, floors=floors, notes=notes)
    return first


_THAN = {"labels-only": "your labels alone", "input": "the raw input", "untrained": "the untrained encoder", "words": "the mean of word vectors"}
_INSTEAD = {"labels-only": "from scratch", "frozen": "with a probe on the frozen encoder", "input": "with a probe on the raw input"}
_WITHOUT = {"labels-only": "without", "input": "on the raw input", "untrained": "with the untrained encoder"}


def _than(floor: str) -> str:
    """A floor within a sentence."""
    return _THAN.get(floor, FLOOR_NAMES.get(floor, floor))


def labels_needed(curve: Mapping[int, Point], accuracy: float) -> float:
    """Labels a class at which a few-label curve reaches an accuracy: linear in accuracy over log labels, after making the curve rise.

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


def percent(score: Point | float) -> str:
    """84.2 %, from a fraction or from the number that a score is told by."""
    return f"{100 * (headline(score) if isinstance(score, Mapping) else score):.1f} %"


def measure_of(score: Point) -> str | None:
    """The name of the number that a score is told by; None for other measures."""
    return next((name for name in ("accuracy", "map", "spearman", "v_measure") if name in score), None)


def headline(score: Point) -> float:
    """The number that a score is told by: its accuracy, mean average precision, rank correlation or V-measure."""
    return float(score[measure_of(score) or "accuracy"])


def cell(score: Point | None) -> str:
    """A score with its interval, as in 84.2 % (83.0-85.4); other measures than accuracy by name."""
    if not score:
        return ""
    if measure_of(score) is None:
        return ", ".join(f"{name} {value:.3g}" for name, value in score.items() if isinstance(value, float))
    interval = score.get("interval")
    return percent(score) + (f" ({100 * interval[0]:.1f}-{100 * interval[1]:.1f})" if interval else "")


def _point_cell(score: Point | None, measure: str, place: int) -> str:
    """Of a search, what is measured among the first ones."""
    points = (score or {}).get(measure, [])
    return cell({**points[place], "accuracy": points[place][measure]}) if place < len(points) else ""


def measure_cell(name: str, measure: Mapping[str, Any] | None) -> str:
    """A measure of samples with its interval: a share in %, a density or a distance as it is."""
    if measure is None:
        return ""
    if name in ("density", "frechet_distance"):
        interval = measure.get("interval")
        return f"{measure['value']:.3g}" + (f" ({interval[0]:.3g}-{interval[1]:.3g})" if interval else "")
    return cell({"accuracy": measure["value"], "interval": measure["interval"]})


def _curve(scores: Scores) -> dict[int, Point]:
    points: Sequence[Point] = scores.get("few-label") or []
    return {int(point["labels_per_class"]): point for point in points}


def _labels(count: int) -> str:
    return "1 label" if count == 1 else f"{count} labels"


def _here(count: int) -> str:
    return f"{_labels(count)} a class here {'does' if count == 1 else 'do'}"
