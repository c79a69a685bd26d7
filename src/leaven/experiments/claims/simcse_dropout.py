from leaven.api.evaluate import evaluate
from leaven.experiments.claim import Arm, Claim, Found, Outcome, decided
from leaven.report.reproduction import numbers_figure

TWO, MORE, SAME, NONE = "two masks, 10 % dropout", "two masks, 20 % dropout", "one mask twice, 10 % dropout", "no dropout"
SIMILARITY = "Spearman correlation"


class SimcseDropout(Claim):
    says = "What teaches SimCSE is that a text is read with two dropout masks: with one mask twice, or without dropout, it learns less."
    source = "Gao et al. 2021, SimCSE: Simple Contrastive Learning of Sentence Embeddings, table 2 (STS-B: 82.5; 43.6 with one mask, 71.1 without)"
    rule = (
        "Holds if two masks at 10 % give a higher rank correlation with people's scores of test pairs than one mask twice and than no dropout, each "
        "with the whole 95 % interval over seeds above zero; does not hold if either is lower likewise. 20 % is told beside them and decides nothing."
    )
    data = "stsb"
    train = 100_000
    test = 100_000
    protocols = ()
    batch = 128
    steps = 400
    minutes = 25

    def arms(self):
        settings = {TWO: (0.1, True), MORE: (0.2, True), SAME: (0.1, False), NONE: (0.0, False)}
        return {name: Arm("simcse", {"encoder.dropout": dropout, "two_masks": two, "whiten": False}) for name, (dropout, two) in settings.items()}

    def measure(self, runs, samples, seed):
        cards = {arm: evaluate(run, samples, protocols=("sts",), seed=seed, report=False) for arm, run in runs.items()}
        found = {arm: {SIMILARITY: card.scores["sts"]["spearman"]} for arm, card in cards.items()}
        floors = {"untrained": cards[TWO].floors["untrained"], "tf-idf of characters": cards[TWO].floors["characters"]}
        return found | {name: {SIMILARITY: floor["sts"]["spearman"]} for name, floor in floors.items()}

    def decide(self, found: Found):
        gaps = [found.gap(TWO, other, SIMILARITY) for other in (SAME, NONE)]
        told = ", ".join(f"{100 * found.number(arm, SIMILARITY)['mean']:.1f} {arm}" for arm in (*self.arms(), "untrained", "tf-idf of characters"))
        return Outcome(decided(*gaps), f"Spearman x 100 of the test pairs: {told}.")

    def figure(self, found: Found):
        return numbers_figure({arm: found.number(arm, SIMILARITY) for arm in (*self.arms(), "untrained", "tf-idf of characters")}, SIMILARITY)
