import torch

from leaven.api.sample import sample
from leaven.evaluation.generation import likeness
from leaven.experiments.claim import Arm, Claim, Found, Outcome, decided
from leaven.modalities import modality_of
from leaven.report.reproduction import numbers_figure

OWN, VALUES, CLASSES = 8, 32, 4
WIDTHS = (1, 2, 4, 8, 16)
NARROW, WIDE = WIDTHS[:2], WIDTHS[3:]
COVERAGE = "coverage"


class NarrowNoise(Claim):
    says = "A generator whose noise has fewer dimensions than the data lie on cannot cover them."
    source = "Arjovsky and Bottou 2017, Towards Principled Methods for Training Generative Adversarial Networks, lemma 1"
    rule = (
        f"Samples lie on {OWN} dimensions within {VALUES} numbers. Holds if noise of {NARROW[0]} and of {NARROW[1]} numbers both cover less of the "
        f"test samples than noise of {OWN} does, each with the whole 95 % interval over seeds. Nothing is said about more than {OWN}."
    )
    data = "made here"
    train = 20_000
    test = 2_000
    protocols = ()
    batch = 128
    steps = 6000
    minutes = 6

    def given(self, root):
        """A random smooth surface: normal numbers through a fixed network of one layer."""
        generator = torch.Generator().manual_seed(0)
        inside = torch.randn(self.train + 5 * self.test, OWN, generator=generator)
        first, second = torch.randn(OWN, 64, generator=generator) / OWN**0.5, torch.randn(64, VALUES, generator=generator) / 8
        return (inside @ first).tanh() @ second, (inside[:, 0] > 0).long() + 2 * (inside[:, 1] > 0)

    def arms(self):
        return {numbers(width): Arm("wgan_gp", {"noise": width, "recipe.lr": 5e-4}) for width in WIDTHS}

    def measure(self, runs, samples, seed):
        value = modality_of(samples.rows["x"]).numbers(samples.rows["x"]).flatten(1)
        _, test, _, _ = samples.held_out()
        deviation = value[samples.train()].std(0).clamp(min=1e-6)
        made = {arm: torch.from_numpy(sample(run, len(test), seed=seed)).flatten(1) for arm, run in runs.items()}
        wide = min(5, len(test) - 1)
        covered = {arm: likeness(value[test] / deviation, each / deviation, near=wide, wide=wide)["coverage"] for arm, each in made.items()}
        return {arm: {COVERAGE: each.mean().item()} for arm, each in covered.items()}

    def decide(self, found: Found):
        wide = numbers(OWN)
        told = ", ".join(f"{found.number(numbers(width), COVERAGE)['mean']:.2f} by {numbers(width)}" for width in WIDTHS)
        return Outcome(
            decided(*(found.gap(wide, numbers(width), COVERAGE) for width in NARROW)), f"share of the test samples that are covered: {told}."
        )

    def figure(self, found: Found):
        return numbers_figure({numbers(width): found.number(numbers(width), COVERAGE) for width in WIDTHS}, "share of test samples that are covered")


def numbers(width: int) -> str:
    return "noise of 1 number" if width == 1 else f"noise of {width} numbers"
