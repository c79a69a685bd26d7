from leaven.evaluation.results import difference, points
from leaven.experiments.claim import Arm, Claim, Findings, Outcome, verdict_of

SAMPLES = 51_200
NAMES = {"simclr": "SimCLR", "byol": "BYOL"}
ARMS = {method: {batch: f"{method}, batch {batch}" for batch in (32, 64, 128, 256, 512)} for method in NAMES}


class BatchSize(Claim):
    says = "SimCLR needs large batches, because its negatives come from the batch; BYOL, which has none, needs them less."
    source = "Grill et al. 2020, Bootstrap Your Own Latent, figure 3a; Chen et al. 2020, A Simple Framework for Contrastive Learning, figure 9"
    rule = (
        "Every training sees the same number of samples. The claim compares what SimCLR loses from a batch of 256 to one of 32 with what BYOL loses. "
        "Holds if the difference is above zero with its whole 95 % interval over seeds."
    )
    train = 10_000
    minutes = 20
    lines = {name: ARMS[method] for method, name in NAMES.items()}
    axis = "samples in a batch"
    log = True

    def arms(self):
        narrow = {"encoder.width": 32}
        sizes = [(method, batch, name) for method, names in ARMS.items() for batch, name in names.items()]
        return {name: Arm(method, narrow, steps=SAMPLES // batch, batch=batch) for method, batch, name in sizes}

    def decide(self, findings: Findings):
        def losses(method: str) -> list[dict[str, float]]:
            pairs = zip(*(findings.accuracies(ARMS[method][batch]) for batch in (256, 32)), strict=True)
            return [{"accuracy": large - small} for large, small in pairs]

        gap = difference(list(zip(losses("simclr"), losses("byol"), strict=True)))
        contrasts = [f"{name} {findings.contrast(ARMS[method][256], ARMS[method][32])}" for method, name in NAMES.items()]
        return Outcome(verdict_of(gap), f"a batch of 256 against one of 32: {'; '.join(contrasts)}. SimCLR loses {points(gap)} points more.")
