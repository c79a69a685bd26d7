from typing import Any

from leaven.data import Batch
from leaven.draw import Draw
from leaven.experiments.claim import Arm, Claim, Found, Outcome, decided
from leaven.modalities import Text
from leaven.report.reproduction import numbers_figure
from leaven.training.trained import trained_method

PLAIN, ANNEALED, FREE, HIDDEN = "plain", "KL annealed", "free bits", "words hidden from the decoder"
UNITS, NATS = "active units", "nats of KL"
LOOKED_AT = 500


class KlAnnealing(Claim):
    says = "A text VAE leaves its code unused; annealing the KL, and giving it free bits, each prevent that."
    source = "Bowman et al. 2016, Generating Sentences from a Continuous Space, section 3.1 (annealing); Kingma et al. 2016, eq. 15 (free bits)"
    rule = (
        "Holds if annealing and free bits, each by itself, leave more units of the code active on held-out texts than the plain bound does, "
        "each with the whole 95 % interval over seeds above zero; does not hold if either leaves fewer likewise. A unit is active if the "
        "variance of its mean is above 0.01 (Burda et al. 2016). Hiding words from the decoder is told beside them and decides nothing."
    )
    data = "stsb"
    train = 100_000
    test = 100_000
    protocols = ()
    batch = 128
    steps = 600
    minutes = 25

    def arms(self):
        without = {"annealing": 0.0, "free_bits": 0.0, "word_dropout": 0.0}
        changed = {PLAIN: {}, ANNEALED: {"annealing": 0.8}, FREE: {"free_bits": 0.2}, HIDDEN: {"word_dropout": 0.6}}
        return {name: Arm("text_vae", {**without, **settings}) for name, settings in changed.items()}

    def measure(self, runs, samples, seed):
        value = next(value for value in samples.rows.roles.values() if isinstance(value, Text))
        texts = Batch.of(x=value[samples.held_out()[1][:LOOKED_AT]])
        found = {}
        for arm, run in runs.items():
            method: Any = trained_method(run)
            read = Batch.of(x=method.encoder.inner.in_tokens(texts["x"]))
            measures = method.examine(method.views(read, Draw("looked at", seed)))
            found[arm] = {UNITS: float(measures["active_units"]), NATS: measures["kl_nats"]}
        return found

    def decide(self, found: Found):
        gaps = [found.gap(arm, PLAIN, UNITS) for arm in (ANNEALED, FREE)]
        told = "; ".join(f"{arm}: {found.number(arm, UNITS)['mean']:.1f} units, {found.number(arm, NATS)['mean']:.2g} nats" for arm in self.arms())
        return Outcome(decided(*gaps), f"of 32 units active, {told}.")

    def figure(self, found: Found):
        return numbers_figure({arm: found.number(arm, UNITS) for arm in self.arms()}, UNITS)
