from leaven.encoders import build_encoder
from leaven.methods import Count, DataSpec, PartialShare, Recipe
from leaven.methods.boltzmann import Machines
from leaven.modules.units import Binary, Units


class RBM(Machines):
    """Samples cost less free energy than the model's own states, by contrastive divergence or persistent chains (Hinton 2002, eq. 5).

    The loss is the mean free energy of the data minus that of the model's states, whose gradient is the learning rule; its value says little.
    Grey values are probabilities of a 1. The likelihood is exact where a layer has 20 units or fewer, and is otherwise estimated when training ends.

    hidden: binary hidden units. sparsity: mean activation that hidden units should have (none: any; Lee et al. 2008). sparsity_weight: of the squared
    distance to it, summed over the units.
    """

    paper = "Training Products of Experts by Minimizing Contrastive Divergence (Hinton)"
    year = 2002
    recipe = Recipe(optimizer="sgd", lr=0.05, batch=100, weight_decay=1e-4, lr_rule="none", warmup=0.0, momentum=0.5)
    log_prob_is = "estimate of it"
    visible: Units = Binary()

    def __init__(self, data: DataSpec, *, hidden: Count = 500, sparsity: PartialShare | None = None, sparsity_weight: float = 1.0, **machines):
        raw = isinstance(self.visible, Binary)
        encoder = build_encoder("dense", data.roles["x"], {"widths": (hidden,), "last": "sigmoid", "raw": raw})
        super().__init__(encoder, data, self.visible, **machines)
        self.sparsity, self.sparsity_weight = sparsity, sparsity_weight

    def loss(self, outputs):
        terms = super().loss(outputs)
        if self.sparsity is not None:
            terms["sparsity"] = self.sparsity_weight * (outputs.hidden.mean(0) - self.sparsity).square().sum()
        return terms
