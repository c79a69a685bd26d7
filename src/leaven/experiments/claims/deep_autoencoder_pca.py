import torch

from leaven.evaluation.abilities import reconstructed
from leaven.experiments.claim import Arm, Claim, train_and_test
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

        train, test = (modality_of(value).compared(value) for value in train_and_test(samples))
        pca = PCA(min(NUMBERS, train.shape[1])).fit(train)
        decoded = torch.from_numpy(pca.inverse_transform(pca.transform(test)))
        return {**super().measure(runs, samples, seed), PCA_30: {ERROR: (test - decoded).square().mean().item()}}

    def measure_run(self, run, samples, seed):
        method, (_, test) = trained_method(run), train_and_test(samples)
        pairs = reconstructed(method, test, method.encoder.input)
        before, after = map(torch.cat, zip(*([modality_of(part).compared(part) for part in pair] for pair in pairs), strict=True))
        return {ERROR: (before - after).square().mean().item()}
