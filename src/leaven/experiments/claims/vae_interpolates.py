import torch

from leaven.draw import Draw
from leaven.evaluation.features import encode
from leaven.evaluation.generation import likeness
from leaven.experiments.claim import Arm, Claim, Found, Outcome, decided
from leaven.modalities.modality import fitted
from leaven.report.reproduction import numbers_figure
from leaven.training.trained import load_encoder_of, trained_method

VAE, PLAIN, JUDGE = "variational auto-encoder", "plain auto-encoder", "judge"
HALFWAY, NEW = "precision halfway between two samples", "precision of new samples"


class VaeInterpolates(Claim):
    says = "A variational auto-encoder makes real-looking samples halfway between two codes, and of random ones; a plain auto-encoder does less so."
    source = "Kingma and Welling 2014, Auto-Encoding Variational Bayes, figures 4 and 5, beside a plain auto-encoder"
    rule = (
        "Holds if the precision (Kynkaanniemi et al. 2019) of what is decoded halfway between pairs of test samples, and that of what is decoded "
        "from random codes, are both higher with the variational auto-encoder, each with the whole 95 % interval over seeds above zero. Random codes "
        "are standard normal there, and normal with the mean and covariance of the test codes in the plain one. Features are those of a network "
        "trained on the labels."
    )
    data = "MNIST"
    train = 20_000
    test = 2_000
    protocols = ()
    steps = 3000
    minutes = 6

    def arms(self):
        same = {"code": 32, "encoder.widths": (512, 256)}
        return {VAE: Arm("vae", same, encoder="dense"), PLAIN: Arm("autoencoder", same, encoder="dense"), JUDGE: Arm("supervised", steps=300)}

    def measure(self, runs, samples, seed):
        _, test, _, _ = samples.held_out()
        judge, value = load_encoder_of(runs[JUDGE]), samples.rows["x"]
        real, some = encode(judge, value, samples.train()[: len(test)]), test.split(-(-len(test) // 2))
        found = {}
        for arm in (VAE, PLAIN):
            method = trained_method(runs[arm])
            with torch.no_grad():
                codes = method.encoder(fitted(value[test], method.encoder.input.shape))
                halfway = (codes[: len(some[1])] + codes[-len(some[1]) :]) / 2
                noise = Draw(seed, "codes").normal(len(test), codes.shape[1])
                spread = torch.linalg.cholesky(codes.T.cov() + 1e-6 * torch.eye(codes.shape[1]))
                fresh = noise if arm == VAE else codes.mean(0) + noise @ spread.T
                decoded = {HALFWAY: method.decode(halfway), NEW: method.decode(fresh)}
            features = {what: encode(judge, each, torch.arange(len(each))) for what, each in decoded.items()}
            near = min(3, len(halfway) - 1)
            found[arm] = {what: likeness(real, each, near=near, wide=near)["precision"].mean().item() for what, each in features.items()}
        return found

    def decide(self, found: Found):
        told = "; ".join(
            f"{what}: {found.number(VAE, what)['mean']:.2f} {VAE}, {found.number(PLAIN, what)['mean']:.2f} {PLAIN}" for what in (HALFWAY, NEW)
        )
        return Outcome(decided(found.gap(VAE, PLAIN, HALFWAY), found.gap(VAE, PLAIN, NEW)), f"{told}.")

    def figure(self, found: Found):
        bars = {f"{arm} ({what.removeprefix('precision ')})": found.number(arm, what) for what in (HALFWAY, NEW) for arm in (VAE, PLAIN)}
        return numbers_figure(bars, "share of decoded samples that lie among real ones")
