from leaven.evaluation.comparison import difference, points
from leaven.experiments.claim import Arm, Claim, Found, Outcome, decided
from leaven.report.reproduction import line_figure

BATCHES = (32, 64, 128, 256, 512)
SAMPLES = 51_200


class BatchSize(Claim):
    says = "SimCLR needs large batches, because its negatives come from the batch; BYOL, which has none, needs them less."
    source = "Grill et al. 2020, Bootstrap Your Own Latent, figure 3a; Chen et al. 2020, A Simple Framework for Contrastive Learning, figure 9"
    rule = (
        "Every training sees the same number of samples. Compared is what SimCLR loses from a batch of 256 to one of 32 with what BYOL loses. "
        "Holds if the difference is above zero with its whole 95 % interval over seeds."
    )
    train = 10_000
    minutes = 20

    def arms(self):
        arms: dict[str, Arm] = {}
        for method in ("simclr", "byol"):
            arms |= {f"{method}, batch {batch}": Arm(method, {"encoder.width": 32}, steps=SAMPLES // batch, batch=batch) for batch in BATCHES}
        return arms

    def decide(self, found: Found):
        def losses(method: str) -> list[dict[str, float]]:
            pairs = zip(found.points(f"{method}, batch 256"), found.points(f"{method}, batch 32"), strict=True)
            return [{"accuracy": large["accuracy"] - small["accuracy"]} for large, small in pairs]

        gap = difference(list(zip(losses("simclr"), losses("byol"), strict=True)))
        lost = [f"{name} {found.told(f'{method}, batch 256', f'{method}, batch 32')}" for method, name in (("simclr", "SimCLR"), ("byol", "BYOL"))]
        return Outcome(decided(gap), f"a batch of 256 against 32: {'; '.join(lost)}. SimCLR loses {points(gap)} points more.")

    def figure(self, found: Found):
        curves = {
            name: [(batch, found.score(f"{method}, batch {batch}")) for batch in BATCHES] for method, name in (("simclr", "SimCLR"), ("byol", "BYOL"))
        }
        return line_figure(curves, "samples in a batch", log=True)
