from leaven.data.spec import DataSpec
from leaven.encoders import build_encoder
from leaven.errors import UserError
from leaven.methods.boltzmann import Machines
from leaven.methods.method import Recipe
from leaven.modules.units import Binary, Units
from leaven.views import Views


class RBM(Machines):
    """Samples cost less free energy than the model's own states, by contrastive divergence or persistent chains (Hinton 2002, eq. 5).

    The loss is the mean free energy of the data minus that of the model's states, whose gradient is the learning rule; its value says little.
    Grey values are probabilities of a 1. The likelihood is exact where a layer has 20 units or fewer, and is otherwise estimated when training ends.

    hidden: binary hidden units. gibbs_steps: rounds of Gibbs sampling, the k of CD-k. persistent: chains go on from step to step instead of starting
    at the samples (Tieleman 2008). chains: how many there are. sparsity: mean activation that hidden units should have (none: any; Lee et al. 2008).
    sparsity_weight: of the squared distance to it, summed over the units. ais_runs, ais_temperatures: of annealed importance sampling (Salakhutdinov
    and Murray 2008). sample_steps: rounds of Gibbs sampling that make new samples.
    """

    paper = "Training Products of Experts by Minimizing Contrastive Divergence (Hinton)"
    year = 2002
    recipe = Recipe(optimizer="sgd", lr=0.05, batch=100, weight_decay=1e-4, lr_rule="none", warmup=0.0, momentum=0.5)
    log_prob_is = "estimate of it"
    visible: Units = Binary()

    def __init__(
        self,
        data: DataSpec,
        *,
        hidden: int = 500,
        gibbs_steps: int = 1,
        persistent: bool = True,
        chains: int = 100,
        sparsity: float | None = None,
        sparsity_weight: float = 1.0,
        ais_runs: int = 100,
        ais_temperatures: int = 3000,
        sample_steps: int = 1000,
        views: Views | None = None,
    ):
        if sparsity is not None and not 0 < sparsity < 1:
            raise UserError(f"sparsity must be a mean activation between 0 and 1, not {sparsity}")
        raw = isinstance(self.visible, Binary)
        encoder = build_encoder("dense", data.roles["x"], {"widths": (hidden,), "last": "sigmoid", "raw": raw})
        super().__init__(
            encoder, data, self.visible, views, gibbs_steps=gibbs_steps, persistent=persistent, chains=chains, ais_runs=ais_runs,
            ais_temperatures=ais_temperatures, sample_steps=sample_steps,
        )  # fmt: skip
        self.sparsity, self.sparsity_weight = sparsity, sparsity_weight

    def loss(self, outputs):
        terms = super().loss(outputs)
        if self.sparsity is not None:
            terms["sparsity"] = self.sparsity_weight * (outputs.hidden.mean(0) - self.sparsity).square().sum()
        return terms
