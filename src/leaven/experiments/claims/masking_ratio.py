from leaven.experiments.claim import Arm, Claim, Found, Outcome, decided
from leaven.report.reproduction import line_figure

RATIOS = (0.25, 0.5, 0.75, 0.9)


class MaskingRatio(Claim):
    says = "Masking most of a picture teaches a masked auto-encoder more than masking a little of it."
    source = "He et al. 2022, Masked Autoencoders Are Scalable Vision Learners, figure 5: 75 % is best for fine-tuning and linear probe"
    rule = "Holds if a ratio of 75 % scores higher by a linear probe than one of 25 %, with the whole 95 % interval over seeds above zero."
    protocols = ("linear",)
    steps = 300
    minutes = 20

    def arms(self):
        small = {"encoder.width": 128, "encoder.depth": 4, "encoder.heads": 4, "encoder.patch": 4}
        return {masked(ratio): Arm("mae", {"mask_ratio": ratio, **small}, encoder="vit") for ratio in RATIOS}

    def decide(self, found: Found):
        much, little = masked(0.75), masked(0.25)
        best = max(found.arms, key=lambda arm: found.accuracy(arm, "linear"))
        return Outcome(decided(found.gain(much, little, "linear")), f"75 % against 25 %: {found.told(much, little, 'linear')}; best here: {best}.")

    def figure(self, found: Found):
        return line_figure({"linear probe": [(100 * ratio, found.score(arm, "linear")) for ratio, arm in zip(RATIOS, found.arms, strict=True)]},
                           "per cent of patches that are masked")  # fmt: skip


def masked(ratio: float) -> str:
    return f"{100 * ratio:.0f} % masked"
