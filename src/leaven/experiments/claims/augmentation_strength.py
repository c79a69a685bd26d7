from leaven.experiments.claim import Arm, Claim, Findings, Outcome, verdict_of

ARMS = {strength: f"strength {strength:g}" for strength in (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)}


class AugmentationStrength(Claim):
    says = "Augmentations that are too weak and augmentations that are too strong both teach less than those between: the curve is an inverted U."
    source = "Tian et al. 2020, What Makes for Good Views for Contrastive Learning?, figure 5 (strength of the colour jitter)"
    rule = "Holds if the best strength between the ends scores higher than both ends, each with the whole 95 % interval over seeds above zero."
    steps = 300
    minutes = 15
    lines = {"nearest neighbours": ARMS}
    axis = "strength of the colour jitter (1: that of SimCLR for small pictures)"

    def arms(self):
        return {name: Arm("simclr", jitter(strength)) for strength, name in ARMS.items()}

    def decide(self, findings: Findings):
        weakest, *between, strongest = findings.arms
        best = max(between, key=findings.accuracy)
        verdict = verdict_of(findings.gain(best, weakest), findings.gain(best, strongest))
        weak, strong = (findings.contrast(best, end) for end in (weakest, strongest))
        return Outcome(verdict, f"{best} against the weakest: {weak}; against the strongest: {strong}.")


def jitter(strength: float) -> dict[str, float]:
    """The colour jitter of SimCLR with each of its ranges this many times as wide (hue up to its bound), for every view."""
    usual = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
    return {"views.jitter": 1.0} | {f"views.{name}": min(strength * width, 0.5 if name == "hue" else 1e9) for name, width in usual.items()}
