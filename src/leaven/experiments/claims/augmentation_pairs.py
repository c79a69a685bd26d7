import torch

from leaven.experiments.claim import FAILS, HOLDS, UNDECIDED, Arm, Claim, Findings, Outcome
from leaven.methods.contrastive.simclr import SimCLR
from leaven.modalities import Pixels
from leaven.report.reproduction import matrix_figure
from leaven.views import PictureViews
from leaven.views.crop import rotate
from leaven.views.filters import cutout, gaussian_blur, gaussian_noise, sobel

NAMES = ("crop", "colour", "cutout", "sobel", "noise", "blur", "rotate")
CROP = PictureViews(jitter=0, grey=0)
COLOUR = PictureViews(crop_min=1, flip=0)


class SimCLRWithChanges(SimCLR):
    """SimCLR whose two views are made by one or two changes, applied in this order."""

    def __init__(self, encoder, *, changes: tuple[str, ...] = ("crop", "colour"), temperature: float = 0.2, projector: tuple[int, ...] = (512, 128)):
        super().__init__(encoder, temperature=temperature, projector=projector)
        self.changes = changes

    def views(self, batch, draw):
        return [self.view(batch["x"], draw.child("view", number)) for number in range(2)]

    def view(self, value, draw):
        for name in self.changes:
            value = CHANGES[name](value, draw.child(name))
        return value


def of_pixels(change):
    """A change of (B, C, H, W) values in 0-1, as one of pictures."""
    return lambda value, draw: Pixels(change(value.unit(), draw))


def cut_out(x, draw):
    side = x.shape[2]
    return cutout(x, draw.child("y").integers(side, len(x)), draw.child("x").integers(side, len(x)), side // 2, 0.5)


def edges(x, draw):
    """Half of the pictures as the size of their slopes, in all channels."""
    size = (sobel(x).square().sum(1, keepdim=True).sqrt() / 4).clamp(0, 1).expand_as(x)
    return torch.where(draw.chance(0.5, len(x))[:, None, None, None], size, x)


CHANGES = {
    "crop": lambda value, draw: CROP(value, draw)[0],
    "colour": lambda value, draw: COLOUR(value, draw)[0],
    "cutout": of_pixels(cut_out),
    "sobel": of_pixels(edges),
    "noise": of_pixels(lambda x, draw: gaussian_noise(x, draw.child("noise").normal(*x.shape), draw.child("sigma").uniform(len(x), high=0.2))),
    "blur": of_pixels(lambda x, draw: gaussian_blur(x, draw.uniform(len(x), low=0.1, high=2.0))),
    "rotate": of_pixels(lambda x, draw: rotate(x, draw.integers(4, len(x)))),
}


class AugmentationPairs(Claim):
    says = "Of all pairs of augmentations, random crops with colour distortion teach a contrastive method the most."
    source = "Chen et al. 2020, A Simple Framework for Contrastive Learning of Visual Representations, figure 5"
    rule = (
        "All changes alone and all pairs of them make both views. Holds if crop + colour scores highest in every seed, does not hold if another pair "
        "does in every seed, and is undecided otherwise."
    )
    train = 10_000
    steps = 150
    minutes = 25

    def arms(self):
        chosen = [(a, b) for place, a in enumerate(NAMES) for b in NAMES[place:]]
        return {label(a, b): Arm(SimCLRWithChanges, {"changes": (a,) if a == b else (a, b), "encoder.width": 32}) for a, b in chosen}

    def decide(self, findings: Findings):
        scores = {arm: findings.accuracies(arm) for arm in findings.arms}
        winners = {max(scores, key=lambda arm: scores[arm][seed]) for seed in range(len(scores[label("crop", "colour")]))}
        verdict = UNDECIDED if len(winners) > 1 else HOLDS if winners == {"crop + colour"} else FAILS
        best = sorted(findings.arms, key=findings.accuracy, reverse=True)[:3]
        means = ", ".join(f"{arm} {100 * findings.accuracy(arm):.1f} %" for arm in best)
        return Outcome(verdict, f"best in some seed: {' and '.join(sorted(winners))}; means: {means}.")

    def figure(self, findings: Findings):
        scores = [[findings.accuracy(label(*sorted((a, b), key=NAMES.index))) for b in NAMES] for a in NAMES]
        return matrix_figure(NAMES, scores)


def label(a: str, b: str) -> str:
    return f"{a} alone" if a == b else f"{a} + {b}"
