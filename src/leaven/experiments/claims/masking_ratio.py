from leaven.experiments.claim import Arm, Claim, Findings
from leaven.report.reproduction import line_figure

RATIOS = (0.25, 0.5, 0.75, 0.9)


class MaskingRatio(Claim):
    says = "Masking most of a picture teaches a masked auto-encoder more than masking a little of it."
    source = "He et al. 2022, Masked Autoencoders Are Scalable Vision Learners, figure 5: 75 % is best for fine-tuning and linear probe"
    rule = "Holds if a ratio of 75 % scores higher by a linear probe than one of 25 %, with the whole 95 % interval over seeds above zero."
    protocols = ("linear",)
    steps = 300
    minutes = 20
    contrasts = (("75 % masked", "25 % masked", "linear"),)

    def arms(self):
        small = {"encoder.width": 128, "encoder.depth": 4, "encoder.heads": 4, "encoder.patch": 4}
        return {masked(ratio): Arm("mae", {"mask_ratio": ratio, **small}, encoder="vit") for ratio in RATIOS}

    def figure(self, findings: Findings):
        points = [(100 * ratio, findings.score(masked(ratio), "linear")) for ratio in RATIOS]
        return line_figure({"linear probe": points}, "per cent of patches that are masked")


def masked(ratio: float) -> str:
    return f"{100 * ratio:.0f} % masked"
