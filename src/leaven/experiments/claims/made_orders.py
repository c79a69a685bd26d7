from typing import cast

import torch

from leaven.experiments.claim import FAILS, HOLDS, UNDECIDED, Arm, Claim, Findings, Outcome, train_and_test
from leaven.methods.latent.deep_autoencoder import DeepAutoencoder
from leaven.methods.latent.made import MADE
from leaven.training.trained import trained_method

ORDERINGS = 4
MASKED, UNMASKED = "MADE", "an auto-encoder without masks"
AFTER, BEFORE = "largest slope by what does not come before", "largest slope by what comes before"


class MadeOrders(Claim):
    says = "A masked auto-encoder predicts each value from those before it and from nothing else, in every order that it learned."
    source = "Germain et al. 2015, MADE: Masked Autoencoder for Distribution Estimation, sections 3 and 4"
    rule = (
        f"Holds if in trained networks, for each of {ORDERINGS} orders, the derivative of every output by every value that does not come before it "
        "is exactly 0, and the derivative by some value before it is not, while a network without masks has derivatives by both. Otherwise it does "
        "not hold."
    )
    data = "MNIST"
    train = 20_000
    test = 1_000
    protocols = ()
    steps = 300
    minutes = 1
    bars = {measure: measure.removeprefix("largest slope by ") for measure in (BEFORE, AFTER)}
    axis = "largest derivative of an output by a value"

    def arms(self):
        unmasked = Arm("deep_autoencoder", {"widths": (500,), "pretraining": 0.0})
        return {MASKED: Arm("made", {"orderings": ORDERINGS, "order": "random"}), UNMASKED: unmasked}

    def measure(self, runs, samples, seed):
        value = train_and_test(samples)[1][:1]
        made, plain = cast(MADE, trained_method(runs[MASKED])), cast(DeepAutoencoder, trained_method(runs[UNMASKED]))
        target = 0.25 + 0.5 * made.likelihood.observe(value)  # away from 0 and 1, where clamped values have no slope
        slopes = [slope(lambda x, order=order: made.conditionals(x, order)[..., 0], target) for order in range(ORDERINGS)]
        flat = slope(lambda x: plain.decoder(plain.encoder(made.likelihood.value(x)))[..., 0], target)
        before = [places[:, None] > places for places in made.encoder.places]
        return {
            MASKED: {AFTER: largest(slopes, [~earlier for earlier in before]), BEFORE: largest(slopes, before)},
            UNMASKED: {AFTER: largest([flat], [~before[0]]), BEFORE: largest([flat], [before[0]])},
        }

    def decide(self, findings: Findings):
        after, before, plain = findings.numbers(MASKED, AFTER), findings.numbers(MASKED, BEFORE), findings.numbers(UNMASKED, AFTER)
        slopes = f"{AFTER}: {max(after):.3g} in MADE and {min(plain):.3g} or more without masks; {BEFORE}: {min(before):.3g} or more in MADE."
        if min(plain) == 0:
            return Outcome(UNDECIDED, slopes)
        return Outcome(HOLDS if max(after) == 0 and min(before) > 0 else FAILS, slopes)


def slope(outputs, target):
    """(values, values): the derivative of each output by each value of one sample."""
    return torch.autograd.functional.jacobian(lambda x: outputs(x)[0], target, vectorize=True)[:, 0]


def largest(slopes, masks):
    return max(slope.abs()[mask].max().item() for slope, mask in zip(slopes, masks, strict=True))
