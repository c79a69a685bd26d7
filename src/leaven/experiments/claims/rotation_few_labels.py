from leaven.errors import UserError
from leaven.evaluation.results import difference, mean, point_at, points
from leaven.experiments.claim import Arm, Claim, Findings, Outcome, verdict_of
from leaven.report.reproduction import line_figure

FEW, COUNTS = (5, 20), (5, 20, 100)


class RotationFewLabels(Claim):
    says = "With few labels, a small head on frozen rotation features beats the same network trained on those labels from scratch."
    source = "Gidaris et al. 2018, Unsupervised Representation Learning by Predicting Image Rotations, figure 3 (up to some hundred labels per class)"
    rule = (
        "Holds if at 5 and at 20 labels per class the head on frozen features scores higher than training from scratch, each with the whole 95 % "
        "interval over seeds above zero. The claim says nothing about 100 labels, where the gap should narrow."
    )
    protocols = ("few-label",)
    protocol_settings = {"few-label.counts": COUNTS}
    steps = 600
    batch = 128
    floor_seconds = 150.0
    minutes = 8

    def arms(self):
        return {"rotation": Arm("rotation")}

    def decide(self, findings: Findings):
        gains = {
            count: difference([(at(cell.scores, count), at(cell.floors.get("labels-only", {}), count)) for cell in findings.cells])
            for count in COUNTS
        }
        contrasts = "; ".join(f"{count} labels per class: {points(gain)} points over training from scratch" for count, gain in gains.items())
        return Outcome(verdict_of(*(gains[count] for count in FEW)), f"{contrasts}.")

    def figure(self, findings: Findings):
        floors = {"training from scratch": "labels-only", "untrained encoder": "untrained", "raw pixels": "input"}
        curves = {"frozen rotation features": [cell.scores for cell in findings.cells]}
        curves |= {name: [cell.floors.get(floor, {}) for cell in findings.cells] for name, floor in floors.items()}
        means = {name: [(count, mean([at(seed, count) for seed in scores])) for count in COUNTS] for name, scores in curves.items()}
        return line_figure(means, "labels per class", log=True)


def at(scores, count: int):
    """The point of a curve at so many labels per class. UserError where the machine was too slow to train from scratch in the time allowed."""
    point = point_at(scores, count)
    if point is None:
        raise UserError(f"training from scratch on {count} labels per class did not fit its time", hint="run it on a machine that is not busy")
    return point
