import torch

from leaven.draw import Draw
from leaven.evaluation.generation import likeness
from leaven.experiments.claim import Arm, Claim, features_of, train_and_test
from leaven.modalities.modality import fitted
from leaven.training.trained import trained_method

VAE, PLAIN, JUDGE = "variational auto-encoder", "plain auto-encoder", "judge"
HALFWAY, NEW = "precision halfway between two samples", "precision of new samples"


class VaeInterpolates(Claim):
    says = "Halfway between two codes and at random codes, a variational auto-encoder decodes more realistic samples than a plain auto-encoder does."
    source = "Kingma and Welling 2014, Auto-Encoding Variational Bayes, figures 4 and 5, beside a plain auto-encoder"
    rule = (
        "Holds if two precisions (Kynkaanniemi et al. 2019) are higher with the variational auto-encoder, each with the whole 95 % interval over "
        "seeds above zero: that of samples decoded halfway between the codes of two test samples, and that of samples decoded from random codes. "
        "Random codes are standard normal for the variational one, and normal with the mean and covariance of the test codes for the plain one. "
        "Features are those of a network trained on the labels."
    )
    data = "MNIST"
    train = 20_000
    test = 2_000
    protocols = ()
    steps = 3000
    minutes = 6
    contrasts = ((VAE, PLAIN, HALFWAY), (VAE, PLAIN, NEW))
    bars = {measure: measure.removeprefix("precision ") for measure in (HALFWAY, NEW)}
    axis = "share of decoded samples that lie among real ones"

    def arms(self):
        same = {"code": 32, "encoder.widths": (512, 256)}
        return {VAE: Arm("vae", same, encoder="dense"), PLAIN: Arm("autoencoder", same, encoder="dense"), JUDGE: Arm("supervised", steps=300)}

    def measure(self, runs, samples, seed):
        (train, test), judge = train_and_test(samples), features_of(runs[JUDGE])
        real, half = judge(train[: len(test)]), len(test) // 2
        measures = {}
        for arm in (VAE, PLAIN):
            method = trained_method(runs[arm])
            with torch.no_grad():
                codes = method.encoder(fitted(test, method.encoder.input))
                halfway = (codes[:half] + codes[-half:]) / 2
                noise = Draw(seed, "codes").normal(len(test), codes.shape[1])
                spread = torch.linalg.cholesky(codes.T.cov() + 1e-6 * torch.eye(codes.shape[1]))
                random = noise if arm == VAE else codes.mean(0) + noise @ spread.T
                decoded = {HALFWAY: method.decode(halfway), NEW: method.decode(random)}
            near = min(3, half - 1)
            precision = {name: likeness(real, judge(value), near=near, wide=near)["precision"] for name, value in decoded.items()}
            measures[arm] = {name: values.mean().item() for name, values in precision.items()}
        return measures
