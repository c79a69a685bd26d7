import torch

from leaven.evaluation.abilities import reconstructed
from leaven.experiments.claim import Arm, Claim
from leaven.modalities import modality_of
from leaven.training.trained import trained_method

NUMBERS = 30
LEARNED, RANDOM, PCA_30 = "pre-trained by Boltzmann machines", "random start", f"PCA with {NUMBERS} numbers"
ERROR = "squared error of a pixel"


class DeepAutoencoderPca(Claim):
    says = f"A deep auto-encoder that Boltzmann machines have pre-trained reconstructs pictures better from {NUMBERS} numbers than PCA does."
    source = "Hinton and Salakhutdinov 2006, Reducing the Dimensionality of Data with Neural Networks (MNIST: 3.00 against 13.87 per picture)"
    rule = (
        "Holds if the squared error of test pictures is lower than that of PCA, with the whole 95 % interval over seeds; does not hold if it is "
        "higher with the whole interval. The error after a random start is shown beside them and decides nothing."
    )
    data = "MNIST"
    train = 60_000
    test = 10_000
    protocols = ()
    steps = 1500
    minutes = 14
    contrasts = ((PCA_30, LEARNED, ERROR),)

    def arms(self):
        widths = {"widths": (1000, 500, 250, NUMBERS)}
        return {LEARNED: Arm("deep_autoencoder", widths), RANDOM: Arm("deep_autoencoder", {**widths, "pretraining": 0.0})}

    def measure(self, runs, samples, seed):
        from sklearn.decomposition import PCA

        value = samples.rows["x"]
        modality, test = modality_of(value), samples.held_out()[1]
        pixels = modality.compared(value)
        pca = PCA(min(NUMBERS, pixels.shape[1])).fit(pixels[samples.train()])
        errors = {arm: self.error(trained_method(run), modality, value[test]) for arm, run in runs.items()}
        errors[PCA_30] = (pixels[test] - torch.from_numpy(pca.inverse_transform(pca.transform(pixels[test])))).square().mean().item()
        return {arm: {ERROR: error} for arm, error in errors.items()}

    def error(self, method, modality, value):
        pairs = [[modality.compared(part) for part in pair] for pair in reconstructed(method, value, method.encoder.input.shape)]
        before, after = map(torch.cat, zip(*pairs, strict=True))
        return (before - after).square().mean().item()
