import torch

from leaven.encoders import build_encoder
from leaven.errors import UserError
from leaven.methods import DataSpec, Outputs, Recipe, ShareBelowOne, Stage
from leaven.methods.reconstruction import Reconstruction
from leaven.modalities.modality import fitted
from leaven.modules.boltzmann import Stack, diagnose
from leaven.modules.decoder import linear_layers
from leaven.modules.likelihood import choose_likelihood
from leaven.modules.units import Binary, Gaussian, Words


class DeepAutoencoder(Reconstruction):
    """Boltzmann machines learn the layers; a deep auto-encoder starts from their weights, unrolled (Hinton and Salakhutdinov 2006).

    widths: of the encoder's layers; the last is the code, with linear units, the others are sigmoid. pretraining: share of the training in which the
    machines learn, the same for each (from 0 to below 1; at 0 all weights start at random). likelihood: of a sample given its reconstruction,
    "bernoulli" (the paper's cross-entropy, and binary visible units), "gaussian" (and Gaussian visible units) or "multinomial" (for counts, where the
    first machine is a replicated softmax); "auto" chooses by the data.
    """

    paper = "Reducing the Dimensionality of Data with Neural Networks (Hinton and Salakhutdinov)"
    year = 2006
    recipe = Recipe(optimizer="muon", lr=1e-2, batch=256, weight_decay=0.0)
    judged_by = "unexplained"

    def __init__(self, data: DataSpec, *, widths: tuple[int, ...] = (1000, 500, 250, 30), pretraining: ShareBelowOne = 0.3, likelihood: str = "auto"):
        chosen = choose_likelihood(likelihood, data.roles["x"])
        visible = {"bernoulli": Binary(), "gaussian": Gaussian(), "multinomial": Words(data.roles["x"].words)}
        if chosen.name not in visible:
            raise UserError(f"the machines have no units for a {chosen.name} likelihood", hint="choose bernoulli or gaussian")
        raw = chosen.name != "gaussian"
        encoder = build_encoder("dense", data.roles["x"], {"widths": widths, "activation": "sigmoid", "last": "linear", "raw": raw})
        super().__init__(encoder, chosen)
        self.pretraining, self.samples = pretraining, data.samples
        self.stack = Stack(encoder.layers if pretraining else [], visible[chosen.name], Gaussian())

    @property
    def machines(self):
        return self.stack.machines

    @property
    def unrolled(self):
        return self.stage == len(self.machines)

    def stages(self):
        share = self.pretraining / max(1, len(self.machines))
        alone = [Stage(f"machine{number + 1}", share, self.begin, (machine,)) for number, machine in enumerate(self.machines)]
        return [*alone, Stage("unrolled", 1 - self.pretraining, self.unroll, (self.encoder, self.decoder, self.likelihood))]

    def begin(self, encode):
        total = encode(lambda batch: self.stack.up(self.numbers(batch["x"]), self.stage).sum(0, keepdim=True)).sum(0)
        self.stack.begin(self.stage, total, self.samples)

    @torch.no_grad()
    def unroll(self, encode):
        """Start the decoder from the machines, read downwards."""
        downs = linear_layers(self.decoder)
        for down, machine in zip(reversed(downs), self.machines, strict=False):
            down.weight.copy_(machine.layer.weight.T)
            down.bias.copy_(machine.visible_bias)
        if self.machines and not self.encoder.raw and self.encoder.modality.bounded:  # from standardised values to those in 0-1
            scale, shift = (tensor.expand(1, *self.encoder.input.shape).flatten() for tensor in (self.encoder.scale, self.encoder.shift))
            downs[-1].weight.div_(scale[:, None])
            downs[-1].bias.sub_(shift).div_(scale)

    def numbers(self, x):
        return self.encoder.values(fitted(x, self.encoder.input))

    def views(self, batch, draw):
        if self.unrolled:
            return super().views(batch, draw)
        (x,) = self.augment(batch["x"], draw)
        return self.stack.views(self.numbers(x), self.stage, draw)

    def forward(self, views):
        return super().forward(views) if self.unrolled else Outputs(self.stack(views, self.stage))

    def loss(self, outputs):
        if self.unrolled:
            return super().loss(outputs)
        return {"free_energy": outputs.data_energy.mean() - outputs.model_energy.mean()}

    def chance(self, outputs):
        return super().chance(outputs) if self.unrolled else None

    def measures(self, outputs):
        return super().measures(outputs) if self.unrolled else self.machines[self.stage].measures(outputs.data, outputs.model)

    def diagnose(self, measures):
        return super().diagnose(measures) if self.unrolled else diagnose(measures)
