from leaven.evaluation.protocol import Trial
from leaven.evaluation.protocols.sts import Similarity
from leaven.experiments.claim import Arm, Claim
from leaven.training.devices import choose_device
from leaven.training.trained import load_encoders

TWO, MORE, SAME, NONE = "two masks, 10 % dropout", "two masks, 20 % dropout", "one mask twice, 10 % dropout", "no dropout"
SIMILARITY = "Spearman correlation"
FLOORS = {"untrained": "untrained", "tf-idf of characters": "characters"}


class SimcseDropout(Claim):
    says = "SimCSE learns because it reads each text with two dropout masks: with one mask twice, or without dropout, it learns less."
    source = "Gao et al. 2021, SimCSE: Simple Contrastive Learning of Sentence Embeddings, table 2 (STS-B: 82.5; 43.6 with one mask, 71.1 without)"
    rule = (
        "Holds if two masks at 10 % give a higher rank correlation with people's scores of test pairs than one mask twice and than no dropout, each "
        "with the whole 95 % interval over seeds above zero; does not hold if either is lower with the whole interval. 20 % is shown beside them and "
        "decides nothing."
    )
    data = "stsb"
    train = 100_000
    test = 100_000
    protocols = ()
    batch = 128
    steps = 400
    minutes = 25
    contrasts = ((TWO, SAME, SIMILARITY), (TWO, NONE, SIMILARITY))

    def arms(self):
        settings = {TWO: (0.1, True), MORE: (0.2, True), SAME: (0.1, False), NONE: (0.0, False)}
        return {name: Arm("simcse", {"encoder.dropout": dropout, "two_masks": two, "whiten": False}) for name, (dropout, two) in settings.items()}

    def measure(self, runs, samples, seed):
        trials = {arm: Trial(samples, load_encoders(run), "simcse", run, seed=seed, device=choose_device("auto")) for arm, run in runs.items()}
        results = {arm: Similarity().evaluate(trial) for arm, trial in trials.items()}
        scores = {arm: result.scores for arm, result in results.items()} | {name: results[TWO].floors[floor] for name, floor in FLOORS.items()}
        return {arm: {SIMILARITY: score["sts"]["spearman"]} for arm, score in scores.items()}
