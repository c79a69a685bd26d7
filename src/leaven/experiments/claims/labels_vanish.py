from leaven.evaluation.results import difference, mean, points
from leaven.experiments.claim import Arm, Claim, Findings, Outcome, verdict_of
from leaven.experiments.claims.rotation_few_labels import at
from leaven.report.reproduction import line_figure

COUNTS = (5, 20, 100)


class LabelsVanish(Claim):
    says = "As labels vanish, a contrastive encoder loses less accuracy than the same network that learns from the labels alone."
    source = "Chen et al. 2020, A Simple Framework for Contrastive Learning, table 7; Chen et al. 2020, Big Self-Supervised Models, figure 1"
    rule = (
        "The claim compares how many points are lost from 100 labels per class to 5, by a head on frozen SimCLR features and by training from "
        "scratch. Holds if training from scratch loses more, with the whole 95 % interval over seeds above zero."
    )
    protocols = ("few-label",)
    protocol_settings = {"few-label.counts": COUNTS}
    steps = 600
    floor_seconds = 150.0
    minutes = 15

    def arms(self):
        return {"SimCLR": Arm("simclr")}

    def decide(self, findings: Findings):
        most, least = COUNTS[-1], COUNTS[0]

        def losses(curves):
            return [{"accuracy": at(curve, most)["accuracy"] - at(curve, least)["accuracy"]} for curve in curves]

        frozen, alone = ([cell.scores for cell in findings.cells], [cell.floors.get("labels-only", {}) for cell in findings.cells])
        gap = difference(list(zip(losses(alone), losses(frozen), strict=True)))
        lost = [f"{100 * sum(loss['accuracy'] for loss in losses(curves)) / len(curves):.1f}" for curves in (alone, frozen)]
        because = f"from {most} labels per class to {least}, training from scratch loses {lost[0]} points and SimCLR {lost[1]}: {points(gap)} more."
        return Outcome(verdict_of(gap), because)

    def figure(self, findings: Findings):
        curves = {"frozen SimCLR features": [cell.scores for cell in findings.cells]}
        curves |= {"training from scratch": [cell.floors.get("labels-only", {}) for cell in findings.cells]}
        means = {name: [(count, mean([at(seed, count) for seed in scores])) for count in COUNTS] for name, scores in curves.items()}
        return line_figure(means, "labels per class", log=True)
