import torch

from leaven.evaluation.generation import likeness
from leaven.experiments.claim import Arm, Claim, generated, numbers_of, train_and_test

OWN, VALUES, CLASSES = 8, 32, 4
ARMS = {1: "noise of 1 number"} | {width: f"noise of {width} numbers" for width in (2, 4, 8, 16)}
NARROW = (1, 2)
COVERAGE = "coverage"


class NarrowNoise(Claim):
    says = "A generator cannot cover the data if its noise has fewer dimensions than the surface on which the data lie."
    source = "Arjovsky and Bottou 2017, Towards Principled Methods for Training Generative Adversarial Networks, lemma 1"
    rule = (
        f"Samples of {VALUES} numbers lie on a surface of {OWN} dimensions. Holds if noise of {NARROW[0]} and noise of {NARROW[1]} numbers both "
        f"cover less of the test samples than noise of {OWN} does, each with the whole 95 % interval over seeds. The claim says nothing about more."
    )
    data = "made here"
    train = 20_000
    test = 2_000
    protocols = ()
    batch = 128
    steps = 6000
    minutes = 6
    contrasts = tuple((ARMS[OWN], ARMS[width], COVERAGE) for width in NARROW)
    axis = "share of test samples that are covered"

    def open(self, root):
        """A random smooth surface: normal numbers through a fixed network of one layer."""
        generator = torch.Generator().manual_seed(0)
        inside = torch.randn(self.train + 5 * self.test, OWN, generator=generator)
        first, second = torch.randn(OWN, 64, generator=generator) / OWN**0.5, torch.randn(64, VALUES, generator=generator) / 8
        return (inside @ first).tanh() @ second, (inside[:, 0] > 0).long() + 2 * (inside[:, 1] > 0)

    def arms(self):
        return {name: Arm("wgan_gp", {"noise": width, "recipe.lr": 5e-4}) for width, name in ARMS.items()}

    def measure_run(self, run, samples, seed):
        train, test = map(numbers_of, train_and_test(samples))
        deviation, near = train.std(0).clamp(min=1e-6), min(5, len(test) - 1)
        return {COVERAGE: likeness(test / deviation, generated(run, len(test), seed) / deviation, near=near, wide=near)["coverage"].mean().item()}
