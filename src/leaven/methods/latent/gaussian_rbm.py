from leaven.methods.latent.rbm import RBM
from leaven.methods.method import Recipe
from leaven.modules.units import Gaussian


class GaussianRBM(RBM):
    """A restricted Boltzmann machine of real values: visible units of unit variance around the mean that the hidden units give (Welling et al. 2005).

    Samples are standardised: every value has mean 0 and deviation 1 (pixels: every channel). Likelihoods are densities of pixels in 0-1, and of plain
    numbers in units of their deviations.

    hidden: binary hidden units. gibbs_steps: rounds of Gibbs sampling, the k of CD-k. persistent: chains go on from step to step instead of starting
    at the samples (Tieleman 2008). chains: how many there are. sparsity: mean activation that hidden units should have (none: any; Lee et al. 2008).
    sparsity_weight: of the squared distance to it, summed over the units. ais_runs, ais_temperatures: of annealed importance sampling (Salakhutdinov
    and Murray 2008). sample_steps: rounds of Gibbs sampling that make new samples.
    """

    paper = "Exponential Family Harmoniums with an Application to Information Retrieval (Welling et al.)"
    year = 2005
    recipe = Recipe(optimizer="sgd", lr=0.005, batch=100, weight_decay=1e-4, lr_rule="none", warmup=0.0, momentum=0.5)
    needs = ("likelihoods",)
    visible = Gaussian()

    def log_prob(self, value, draw):
        bounded = self.encoder.modality.bounded
        return super().log_prob(value, draw) + (self.encoder.scale.expand(1, *self.encoder.input.shape).log().sum() if bounded else 0)
