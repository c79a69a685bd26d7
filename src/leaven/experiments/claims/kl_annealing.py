from typing import Any

from leaven.data import Batch
from leaven.draw import Draw
from leaven.experiments.claim import Arm, Claim
from leaven.modalities import modality_of
from leaven.training.trained import trained_method

PLAIN, ANNEALED, FREE, HIDDEN = "plain", "KL annealed", "free bits", "words hidden from the decoder"
UNITS, NATS = "active units", "nats of KL"
MEASURED = 500


class KlAnnealing(Claim):
    says = "A text VAE leaves its code unused; annealing the KL, and giving it free bits, each prevent that."
    source = "Bowman et al. 2016, Generating Sentences from a Continuous Space, section 3.1 (annealing); Kingma et al. 2016, eq. 15 (free bits)"
    rule = (
        "Holds if annealing and free bits, each by itself, leave more units of the code active on held-out texts than the plain bound does, "
        "each with the whole 95 % interval over seeds above zero; does not hold if either leaves fewer with the whole interval. A unit is active if "
        "the variance of its mean is above 0.01 (Burda et al. 2016). Hiding words from the decoder is shown beside them and decides nothing."
    )
    data = "stsb"
    train = 100_000
    test = 100_000
    protocols = ()
    batch = 128
    steps = 600
    minutes = 25
    contrasts = ((ANNEALED, PLAIN, UNITS), (FREE, PLAIN, UNITS))

    def arms(self):
        without = {"annealing": 0.0, "free_bits": 0.0, "word_dropout": 0.0}
        changed = {PLAIN: {}, ANNEALED: {"annealing": 0.8}, FREE: {"free_bits": 0.2}, HIDDEN: {"word_dropout": 0.6}}
        return {name: Arm("text_vae", {**without, **settings}) for name, settings in changed.items()}

    def measure_run(self, run, samples, seed):
        value = next(value for value in samples.rows.roles.values() if modality_of(value).tokenized)
        texts = value[samples.held_out()[1][:MEASURED]]
        method: Any = trained_method(run)
        code = method.examine(method.views(Batch.of(x=method.encoder.in_tokens(texts)), Draw("looked at", seed)))
        return {UNITS: float(code["active_units"]), NATS: code["kl_nats"]}
