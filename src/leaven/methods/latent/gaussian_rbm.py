from leaven.methods import Recipe
from leaven.methods.latent.rbm import RBM
from leaven.modules.units import Gaussian


class GaussianRBM(RBM):
    """A restricted Boltzmann machine of real values: visible units of unit variance around the mean that the hidden units give (Welling et al. 2005).

    Samples are standardised: every value has mean 0 and deviation 1 (pixels: every channel). Likelihoods are densities of pixels in 0-1, and of plain
    numbers in units of their deviations.
    """

    paper = "Exponential Family Harmoniums with an Application to Information Retrieval (Welling et al.)"
    year = 2005
    recipe = Recipe(optimizer="sgd", lr=0.005, batch=100, weight_decay=1e-4, lr_rule="none", warmup=0.0, momentum=0.5)
    needs = ("likelihoods",)
    visible = Gaussian()

    def log_prob(self, value, draw):
        bounded = self.encoder.modality.bounded
        return super().log_prob(value, draw) + (self.encoder.scale.expand(1, *self.encoder.input.shape).log().sum() if bounded else 0)
