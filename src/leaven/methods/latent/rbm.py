import torch

from leaven.data.spec import DataSpec
from leaven.draw import Draw
from leaven.encoders import build_encoder
from leaven.errors import UserError
from leaven.methods.method import Method, Outputs, Recipe, Stage
from leaven.modalities.modality import fitted
from leaven.modules.boltzmann import LogPartition, Stack, diagnose
from leaven.modules.units import Binary, Units
from leaven.views import Views


class RBM(Method):
    """Samples cost less free energy than what the model makes of them, by contrastive divergence or persistent chains (Hinton 2002, eq. 5).

    The loss is the mean free energy of the data minus that of the model's states, whose gradient is the learning rule; its value says little.
    Grey values are probabilities of a 1. The likelihood is exact where a layer has 20 units or fewer, and else estimated when training ends.

    hidden: binary hidden units. gibbs_steps: rounds of Gibbs sampling, the k of CD-k. persistent: chains go on from step to step instead of starting
    at the samples (Tieleman 2008). chains: how many of them. sparsity: mean activation that hidden units should have (none: any; Lee et al. 2008).
    sparsity_weight: of the squared distance to it, summed over the units. ais_runs, ais_temperatures: of annealed importance sampling (Salakhutdinov
    and Murray 2008). sample_steps: rounds of Gibbs sampling that make new samples.
    """

    paper = "Training Products of Experts by Minimizing Contrastive Divergence (Hinton)"
    year = 2002
    recipe = Recipe(optimizer="sgd", lr=0.05, batch=100, weight_decay=1e-4, lr_rule="none", warmup=0.0, momentum=0.5)
    purpose = "plain"
    judged_by = "rebuilt"
    log_prob_is = "estimate of it"
    visible: Units = Binary()
    partition: torch.Tensor

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
        if min(gibbs_steps, chains, sample_steps) < 1:
            raise UserError("gibbs_steps, chains and sample_steps must be 1 or more")
        if min(ais_runs, ais_temperatures) < 2:
            raise UserError("ais_runs and ais_temperatures must be 2 or more")
        if sparsity is not None and not 0 < sparsity < 1:
            raise UserError(f"sparsity must be a mean activation between 0 and 1, not {sparsity}")
        if data.roles["x"].range is not None:
            self.visible.check(*data.roles["x"].range)
        raw = isinstance(self.visible, Binary)
        super().__init__(build_encoder("dense", data.roles["x"], {"widths": (hidden,), "last": "sigmoid", "raw": raw}), views)
        self.stack = Stack(self.encoder.layers, self.visible, gibbs_steps=gibbs_steps, chains=chains if persistent else 0)
        self.sparsity, self.sparsity_weight = sparsity, sparsity_weight
        self.ais, self.sample_steps, self.samples = (ais_runs, ais_temperatures), sample_steps, data.samples
        self.register_buffer("partition", torch.full((3,), torch.nan))

    def stages(self):
        machines = self.stack.machines
        return [Stage(f"machine{number + 1}", 1 / len(machines), self.begin, (machine,)) for number, machine in enumerate(machines)]

    def begin(self, encode):
        total = encode(lambda batch: self.stack.up(self.numbers(batch["x"]), self.stage).sum(0, keepdim=True)).sum(0)
        self.stack.begin(self.stage, total, self.samples)

    def numbers(self, x):
        """What the visible units are of."""
        return self.encoder.values(fitted(x, self.encoder.input.shape))

    def views(self, batch, draw):
        (x,) = self.augment(batch["x"], draw)
        return self.stack.views(self.numbers(x), self.stage, draw)

    def forward(self, views):
        return Outputs(self.stack(views, self.stage))

    def loss(self, outputs):
        terms = {"free_energy": outputs.data_energy.mean() - outputs.model_energy.mean()}
        if self.sparsity is not None:
            terms["sparsity"] = self.sparsity_weight * (outputs.hidden.mean(0) - self.sparsity).square().sum()
        return terms

    def after_step(self, outputs, progress):
        super().after_step(outputs, progress)
        self.stack.advance(outputs.chains, self.stage)

    def measures(self, outputs):
        return self.stack.machines[self.stage].measures(outputs.data, outputs.model)

    def diagnose(self, measures):
        return diagnose(measures)

    def finish(self):
        self.partition.copy_(torch.tensor(self.stack.machines[-1].log_partition(Draw("ais", device=self.partition.device), *self.ais)))

    @property
    def log_partition(self):
        """log Z in nats, its standard error (0 where it is exact), and how many independent samples its estimate is worth."""
        if self.partition.isnan().any():
            self.finish()
        return LogPartition(*self.partition.tolist())

    def log_prob(self, value, draw):
        return self.stack.log_prob(self.visible.observe(self.numbers(value), draw), draw) - self.log_partition.value

    def decode(self, codes):
        return self.encoder.from_values(self.stack.down(codes, len(self.stack.machines)))

    def sample(self, count, draw, label=None):
        return self.encoder.from_values(self.stack.sample(count, draw, self.sample_steps))
