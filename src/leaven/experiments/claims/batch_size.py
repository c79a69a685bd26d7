from leaven.evaluation.results import difference, points
from leaven.experiments.claim import Arm, Claim, Findings, Outcome, verdict_of
from leaven.report.reproduction import line_figure

BATCHES = (32, 64, 128, 256, 512)
SAMPLES = 51_200
NAMES = {"simclr": "SimCLR", "byol": "BYOL"}


class BatchSize(Claim):
    says = "SimCLR needs large batches, because its negatives come from the batch; BYOL, which has none, needs them less."
    source = "Grill et al. 2020, Bootstrap Your Own Latent, figure 3a; Chen et al. 2020, A Simple Framework for Contrastive Learning, figure 9"
    rule = (
        "Every training sees the same number of samples. The claim compares what SimCLR loses from a batch of 256 to one of 32 with what BYOL loses. "
        "Holds if the difference is above zero with its whole 95 % interval over seeds."
    )
    train = 10_000
    minutes = 20

    def arms(self):
        arms: dict[str, Arm] = {}
        for method in NAMES:
            arms |= {f"{method}, batch {batch}": Arm(method, {"encoder.width": 32}, steps=SAMPLES // batch, batch=batch) for batch in BATCHES}
        return arms

    def decide(self, findings: Findings):
        def losses(method: str) -> list[dict[str, float]]:
            pairs = zip(*(findings.accuracies(f"{method}, batch {batch}") for batch in (256, 32)), strict=True)
            return [{"accuracy": large - small} for large, small in pairs]

        gap = difference(list(zip(losses("simclr"), losses("byol"), strict=True)))
        contrasts = [f"{name} {findings.contrast(f'{method}, batch 256', f'{method}, batch 32')}" for method, name in NAMES.items()]
        return Outcome(verdict_of(gap), f"a batch of 256 against one of 32: {'; '.join(contrasts)}. SimCLR loses {points(gap)} points more.")

    def figure(self, findings: Findings):
        curves = {name: [(batch, findings.score(f"{method}, batch {batch}")) for batch in BATCHES] for method, name in NAMES.items()}
        return line_figure(curves, "samples in a batch", log=True)
