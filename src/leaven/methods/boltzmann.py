"""What methods made of restricted Boltzmann machines share: one machine or several on top of each other, trained one after another."""

import torch

from leaven.draw import Draw
from leaven.methods import Count, Method, Outputs, Stage, TwoOrMore
from leaven.modalities.modality import fitted
from leaven.modules.boltzmann import LogPartition, Stack, diagnose


class Machines(Method):
    """Samples cost less free energy than the model's own states, by contrastive divergence or persistent chains.

    The loss is the mean free energy of the data minus that of the model's states, whose gradient is the learning rule; its value says little.

    The layers of the dense encoder are the machines' weights; `visible` are the units of the samples.

    gibbs_steps: rounds of Gibbs sampling, the k of CD-k. persistent: chains go on from step to step instead of starting at the samples (Tieleman
    2008). chains: how many there are. ais_runs, ais_temperatures: of annealed importance sampling (Salakhutdinov and Murray 2008), for the uppermost
    machine. sample_steps: rounds of Gibbs sampling that make new samples.
    """

    purpose = "plain"
    needs = ("continuous",)
    judged_by = "rebuilt"
    partition: torch.Tensor

    def __init__(
        self,
        encoder,
        data,
        visible,
        *,
        gibbs_steps: Count = 1,
        persistent: bool = True,
        chains: Count = 100,
        ais_runs: TwoOrMore = 100,
        ais_temperatures: TwoOrMore = 3000,
        sample_steps: Count = 1000,
    ):
        if encoder.input.range is not None:
            visible.check(*encoder.input.range)
        super().__init__(encoder)
        self.stack = Stack(encoder.layers, visible, gibbs_steps=gibbs_steps, chains=chains if persistent else 0)
        self.ais, self.sample_steps, self.samples = (ais_runs, ais_temperatures), sample_steps, data.samples
        self.register_buffer("partition", torch.full((3,), torch.nan))

    def stages(self):
        machines = self.stack.machines
        return [Stage(f"machine{number + 1}", 1 / len(machines), self.begin, (machine,)) for number, machine in enumerate(machines)]

    def begin(self, encode):
        """Start a machine at the mean of what it models."""
        total = encode(lambda batch: self.stack.up(self.numbers(batch["x"]), self.stage).sum(0, keepdim=True)).sum(0)
        self.stack.begin(self.stage, total, self.samples)

    def numbers(self, x):
        """The numbers that the visible units stand for."""
        return self.encoder.values(fitted(x, self.encoder.input))

    def views(self, batch, draw):
        (x,) = self.augment(batch["x"], draw)
        return self.stack.views(self.numbers(x), self.stage, draw)

    def forward(self, views):
        return Outputs(self.stack(views, self.stage))

    def loss(self, outputs):
        return {"free_energy": outputs.data_energy.mean() - outputs.model_energy.mean()}

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
        states = self.stack.machines[0].visible.observe(self.numbers(value), draw)
        return self.stack.log_prob(states, draw) - self.log_partition.value

    def decode(self, codes):
        return self.encoder.from_values(self.stack.down(codes, len(self.stack.machines)))

    def sample(self, count, draw, label=None):
        return self.encoder.from_values(self.stack.sample(count, draw, self.sample_steps))
