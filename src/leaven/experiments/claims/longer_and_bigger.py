from leaven.evaluation.results import mean_of_numbers
from leaven.experiments.claim import Arm, Claim, Outcome, verdict_of
from leaven.report.reproduction import bar_figure

METHODS = {"contrastive": "simclr", "supervised": "supervised"}
SHORT, NARROW, LONGER, BIGGER = 200, 16, 4, 3
USUAL, LONG, BIG = "as it is", f"{LONGER} times longer", f"{BIGGER} times wider"


class LongerAndBigger(Claim):
    says = "Contrastive learning needs longer training and gains more from bigger encoders than supervised learning does."
    source = "Chen et al. 2020, A Simple Framework for Contrastive Learning of Visual Representations, figures 7 and 9"
    rule = (
        f"An encoder learns by contrast, and one from all labels: for {SHORT} steps, {LONGER} times longer, or {BIGGER} times wider. A linear probe "
        "scores the frozen features. Holds if both changes add more points to the contrastive encoder than to the supervised one, each with the "
        "whole 95 % interval over seeds above zero; does not hold if one of them adds fewer with its whole interval."
    )
    protocols = ("linear",)
    train = 10_000
    steps = SHORT
    batch = 128
    minutes = 25

    def arms(self):
        changes = {USUAL: (self.steps, NARROW), LONG: (LONGER * self.steps, NARROW), BIG: (self.steps, BIGGER * NARROW)}
        return {
            f"{learning}, {change}": Arm(method, {"encoder.width": width}, steps=steps)
            for learning, method in METHODS.items()
            for change, (steps, width) in changes.items()
        }

    def decide(self, findings):
        added = {change: {learning: gains(findings, learning, change) for learning in METHODS} for change in (LONG, BIG)}
        more = {change: mean_of_numbers([a - b for a, b in zip(*by_learning.values(), strict=True)]) for change, by_learning in added.items()}
        parts = []
        for change, by_learning in added.items():
            contrastive, supervised = (100 * mean_of_numbers(numbers)["mean"] for numbers in by_learning.values())
            interval = " ({:+.1f} to {:+.1f})".format(*(100 * bound for bound in more[change]["interval"])) if more[change]["interval"] else ""
            difference = f"{100 * more[change]['mean']:+.1f}{interval}"
            parts.append(f"{change}: {contrastive:+.1f} points by contrast, {supervised:+.1f} by labels, a difference of {difference}")
        return Outcome(verdict_of(*more.values()), f"{'; '.join(parts)}.")

    def figure(self, findings):
        return bar_figure({arm: findings.score(arm, "linear") for arm in findings.arms}, "accuracy of a linear probe")


def gains(findings, learning, change):
    """What a change adds to the accuracy, one number per seed."""
    pairs = zip(*(findings.accuracies(f"{learning}, {which}", "linear") for which in (change, USUAL)), strict=True)
    return [changed - before for changed, before in pairs]
