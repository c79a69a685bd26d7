from leaven.experiments.claim import Arm, Claim

ARMS = {ratio: f"{ratio} % masked" for ratio in (25, 50, 75, 90)}


class MaskingRatio(Claim):
    says = "Masking most of a picture teaches a masked auto-encoder more than masking a little of it."
    source = "He et al. 2022, Masked Autoencoders Are Scalable Vision Learners, figure 5: 75 % is best for fine-tuning and linear probe"
    rule = "Holds if a ratio of 75 % scores higher by a linear probe than one of 25 %, with the whole 95 % interval over seeds above zero."
    protocols = ("linear",)
    steps = 300
    minutes = 20
    contrasts = ((ARMS[75], ARMS[25], "linear"),)
    lines = {"linear probe": ARMS}
    axis = "per cent of patches that are masked"

    def arms(self):
        small = {"encoder.width": 128, "encoder.depth": 4, "encoder.heads": 4, "encoder.patch": 4}
        return {name: Arm("mae", {"mask_ratio": ratio / 100, **small}, encoder="vit") for ratio, name in ARMS.items()}
