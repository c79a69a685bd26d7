import torch

from leaven.api.reconstruct import reconstruct
from leaven.experiments.claim import FAILS, HOLDS, UNDECIDED, Arm, Claim, Found, Outcome, sign
from leaven.report.reproduction import numbers_figure

NUMBERS = 30
LEARNED, RANDOM, PCA_30 = "pre-trained by Boltzmann machines", "random start", f"PCA with {NUMBERS} numbers"
ERROR = "squared error of a pixel"


class DeepAutoencoderPca(Claim):
    says = f"A deep auto-encoder that Boltzmann machines have pre-trained rebuilds pictures better from {NUMBERS} numbers than PCA does."
    source = "Hinton and Salakhutdinov 2006, Reducing the Dimensionality of Data with Neural Networks (MNIST: 3.00 against 13.87 a picture)"
    rule = (
        "Holds if the squared error of test pictures is lower than that of PCA, with the whole 95 % interval over seeds; does not hold if it is "
        "higher likewise. How much a random start loses is told beside it and decides nothing."
    )
    data = "MNIST"
    train = 60_000
    test = 10_000
    protocols = ()
    steps = 1500
    minutes = 14

    def arms(self):
        widths = {"widths": (1000, 500, 250, NUMBERS)}
        return {LEARNED: Arm("deep_autoencoder", widths), RANDOM: Arm("deep_autoencoder", {**widths, "pretraining": 0.0})}

    def measure(self, runs, samples, seed):
        from sklearn.decomposition import PCA

        pixels = samples.rows["x"].unit().flatten(1)
        _, test, _, _ = samples.held_out()
        fitted = PCA(min(NUMBERS, pixels.shape[1])).fit(pixels[samples.train()])
        rebuilt = fitted.inverse_transform(fitted.transform(pixels[test]))
        found = {arm: {ERROR: reconstruct(run, samples).to_dict()["squared_error"]} for arm, run in runs.items()}
        return {**found, PCA_30: {ERROR: (pixels[test] - torch.from_numpy(rebuilt)).square().mean().item()}}

    def decide(self, found: Found):
        verdict = {-1: HOLDS, 1: FAILS, 0: UNDECIDED}[sign(found.gap(LEARNED, PCA_30, ERROR))]
        errors = {arm: found.number(arm, ERROR)["mean"] for arm in (LEARNED, RANDOM, PCA_30)}
        times = errors[PCA_30] / errors[LEARNED]
        told = f"{ERROR}: {errors[LEARNED]:.4f} {LEARNED}, {errors[PCA_30]:.4f} by PCA ({times:.1f} times as much)"
        return Outcome(verdict, f"{told}, {errors[RANDOM]:.4f} from a random start.")

    def figure(self, found: Found):
        return numbers_figure({arm: found.number(arm, ERROR) for arm in (LEARNED, RANDOM, PCA_30)}, ERROR)
