"""What is said of a score beside its floors, and when. A table of cases is in tests/test_headline.py."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from leaven.evaluation.floors import LABELS_ONLY, UNTRAINED
from leaven.evaluation.intervals import unpaired_difference
from leaven.modalities.floor import floor_phrase, floor_title

Point = Mapping[str, Any]
AUC = "auc"
MOST_WANTED = 10_000  # test samples; nobody labels more of them to tell two scores apart


class Gain(NamedTuple):
    """What a score has over a floor: the difference, its interval, and how many more test samples would show it (None: unknown, or none would)."""

    difference: float
    low: float
    high: float
    more: int | None

    @property
    def better(self) -> bool:
        return self.low > 0

    @property
    def worse(self) -> bool:
        return self.high < 0

    @property
    def sharp(self) -> bool:
        """Whether the interval is no wider than the difference, so that a number can be read from it."""
        return (self.better or self.worse) and self.high - self.low <= abs(self.difference)

    def would_tell(self, tested_on: str) -> str:
        if self.more is None or self.more > MOST_WANTED:
            return ""
        return f"; about {about(self.more):,} more test {tested_on} would tell"


def gain_over(name: str, own: Point, floor: Point, key: str) -> Gain:
    """Over a floor of this name: paired where it was measured so, else from the two intervals."""
    gain = own.get("gains", {}).get(name) or unpaired_difference(own[key], own["interval"], floor[key], floor["interval"])
    low, high = gain["interval"]
    return Gain(gain["difference"], low, high, gain["more_test_samples"])


def measure_of(point: Point, headline: str) -> str:
    """The key of the number that sums a point up: the protocol's headline, where the point itself names no other as its `measure`."""
    return str(point.get("measure", headline))


def summed_up(point: Point) -> Point:
    """The point with the interval and the gains of the number that sums it up."""
    if (measure := point.get("measure")) is None:
        return point
    return {**point, "interval": point[f"{measure}_interval"], "gains": point.get(f"{measure}_gains", {})}


def beside_floors(own: Point, floors: Mapping[str, Point], key: str, measured_by: str, tested_on: str = "labels") -> str:
    """The first sentence: whether pre-training helps beyond the untrained encoder, and beyond the best other floor.

    measured_by: the protocol, or the labels of its probe. tested_on: what more would have to be collected.
    """
    others = {name: floor for name, floor in floors.items() if name not in (UNTRAINED.name, LABELS_ONLY.name)}
    best = max(others, key=lambda name: others[name][key], default="")
    names = [name for name in (UNTRAINED.name, best) if name in floors]
    score = percent(own[key])
    if not names:
        unknown = "the untrained encoder was not measured, so what the pre-training adds is unknown"
        return f"{measured_by[0].upper()}{measured_by[1:]}: {score}; {unknown}."
    if len(names) == 1:
        return beside_one(names[0], own, floors[names[0]], key, measured_by, tested_on)
    (gain, first), (over_best, second) = ((gain_over(name, own, floors[name], key), percent(floors[name][key])) for name in names)
    against = f"{score} against {first} of the untrained encoder and {second} of the best floor ({floor_title(best)})"
    phrase = floor_phrase(best)
    if gain.better and over_best.better:
        return f"Pre-training helps: {against}, {measured_by}."
    if gain.worse and over_best.worse:
        return f"Pre-training made it worse: {against}, {measured_by}."
    if gain.better and over_best.worse:
        return f"Pre-training is better than the untrained encoder, but worse than {phrase}: {score} against {first} and {second}, {measured_by}."
    if gain.better:
        apart = f"it cannot be told apart from {phrase} with these {tested_on} ({second}){over_best.would_tell(tested_on)}"
        return f"Pre-training is better than the untrained encoder ({score} against {first}, {measured_by}), but {apart}."
    verdict = beside_one(UNTRAINED.name, own, floors[UNTRAINED.name], key, measured_by, tested_on)
    return f"{verdict} {phrase[0].upper()}{phrase[1:]} is better: {second}." if over_best.worse else verdict


def beside_one(name: str, own: Point, floor: Point, key: str, measured_by: str, tested_on: str) -> str:
    """The same beside a single floor."""
    gain, against = gain_over(name, own, floor, key), f"{percent(own[key])} against {percent(floor[key])}"
    if not gain.better and not gain.worse:
        apart = f"cannot be told apart with these {tested_on} ({against}, {measured_by})"
        return f"Pre-training and {floor_phrase(name)} {apart}{gain.would_tell(tested_on)}."
    if name == UNTRAINED.name:
        return f"Pre-training {'helps' if gain.better else 'made it worse'}: {against} of the untrained encoder, {measured_by}."
    return f"Pre-training is {'better' if gain.better else 'worse'} than {floor_phrase(name)}: {against}, {measured_by}."


def about(number: float) -> int:
    """Two figures of a number."""
    return int(float(f"{number:.2g}"))


def percent(share: float) -> str:
    """84.2 %, from 0.842."""
    return f"{100 * share:.1f} %"


def labels(count: int) -> str:
    return "1 label" if count == 1 else f"{count} labels"


def labels_per_class(count: int) -> str:
    return f"{labels(count)} per class"
