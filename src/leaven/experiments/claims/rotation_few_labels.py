from leaven.errors import UserError
from leaven.evaluation.comparison import difference, mean, point_at, points
from leaven.experiments.claim import Arm, Claim, Found, Outcome, decided
from leaven.report.reproduction import line_figure

FEW, COUNTS = (5, 20), (5, 20, 100)


class RotationFewLabels(Claim):
    says = "With few labels, a small head on frozen rotation features beats the same network trained on those labels from scratch."
    source = "Gidaris et al. 2018, Unsupervised Representation Learning by Predicting Image Rotations, figure 3 (up to some hundred labels a class)"
    rule = (
        "Holds if at 5 and at 20 labels a class the head on frozen features scores higher than training from scratch, each with the whole 95 % "
        "interval over seeds above zero. Nothing is said about 100 labels, where the gap should narrow."
    )
    protocols = ("few-label",)
    labels_per_class = COUNTS
    steps = 600
    batch = 128
    floor_seconds = 150.0
    minutes = 8

    def arms(self):
        return {"rotation": Arm("rotation")}

    def decide(self, found: Found):
        gains = {count: difference(pairs(found, count)) for count in COUNTS}
        told = "; ".join(f"{count} labels a class: {points(gain)} points over training from scratch" for count, gain in gains.items())
        return Outcome(decided(*(gains[count] for count in FEW)), f"{told}.")

    def figure(self, found: Found):
        floors = {"training from scratch": "labels-only", "untrained encoder": "untrained", "raw pixels": "input"}
        curves = {"frozen rotation features": [(count, mean_at(found, None, count)) for count in COUNTS]}
        curves |= {words: [(count, mean_at(found, floor, count)) for count in COUNTS] for words, floor in floors.items()}
        return line_figure(curves, "labels a class", log=True)


def pairs(found: Found, count: int):
    """(frozen features, from scratch) at a count of labels, a pair for each seed."""
    return [(at(cell.scores, count), at(cell.floors["labels-only"], count)) for cell in found.cells]


def mean_at(found: Found, floor: str | None, count: int):
    return mean([at(cell.floors[floor] if floor else cell.scores, count) for cell in found.cells])


def at(scores, count: int):
    """The point of a curve at a count of labels. UserError where the machine was too slow for training from scratch in the time that it is given."""
    point = point_at(scores, count)
    if point is None:
        raise UserError(f"training from scratch on {count} labels a class did not fit its time", hint="run it on a machine that is not busy")
    return point
