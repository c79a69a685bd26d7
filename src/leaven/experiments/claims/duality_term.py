from typing import Any

from leaven.data import open_data
from leaven.data.sources import named
from leaven.evaluation.abilities import generated
from leaven.evaluation.protocols.writing import Inputs
from leaven.experiments.claim import Arm, Claim
from leaven.modules.writing import Decoding
from leaven.training.devices import choose_device
from leaven.training.trained import trained_method

WITH, WITHOUT = "duality term", "two models apart"
F1, BLEU = "F1 of slots, text to meaning", "BLEU, meaning to text"
SMALL = {"encoder.width": 128, "encoder.depth": 1, "tokenizer.vocabulary": 2000, "recipe.lr": 2e-3}
STEPS, MARGINALS, INPUTS = 400, 0.2, 300


class DualityTerm(Claim):
    says = "Two inverse tasks, understanding a sentence and writing it, both improve when their models must agree on how likely a pair is."
    source = "Su et al. 2019, Dual Supervised Learning for Natural Language Understanding and Generation, table 1: F1 71.1 to 72.3, BLEU 55.1 to 57.2"
    rule = (
        "Two small transformers learn from pairs of texts and meanings about restaurants, for as many steps with the duality term as without, models "
        "of each text by itself not counted. Holds if the F1 of slots that are read from test texts and the BLEU of texts that are written from test "
        "meanings are both higher with the term, each with its whole 95 % interval over seeds; does not hold if one is lower with its whole interval."
    )
    data = "e2e-nlg"
    train = 50_000
    test = 5_000
    protocols = ()
    batch = 64
    minutes = 30
    contrasts = ((WITH, WITHOUT, F1), (WITH, WITHOUT, BLEU))

    def open(self, root):
        place = named.find_folder(self.data, named.data_root(root)) or self.data
        return open_data(place, root=root, columns={"text": "ref", "meaning": "mr"})

    def arms(self):
        apart = Arm("dual_supervised", {**SMALL, "weight": 0.0}, steps=STEPS)
        return {WITHOUT: apart, WITH: Arm("dual_supervised", {**SMALL, "marginals": MARGINALS}, steps=round(STEPS / (1 - MARGINALS)))}

    def measure_run(self, run, samples, seed):
        method, rows = trained_method(run), samples.rows
        test, numbers = samples.held_out()[1], {}
        for (source, target), (name, measure) in zip((("text", "meaning"), ("meaning", "text")), ((F1, "f1"), (BLEU, "bleu")), strict=True):
            inputs = Inputs.of(rows[source].take(test), rows[target].take(test), INPUTS)
            blocks = generated(method, inputs.value, source, target, Decoding(), seed=seed, device=choose_device("auto"))
            tokenizer: Any = method.encoders()[target].tokenizer
            texts = [text for block in blocks for text in tokenizer.decode(block)]
            score = inputs.score(texts, seed)
            numbers[name] = 100 * score[measure if measure in score else score["measure"]]["value"]
        return numbers
