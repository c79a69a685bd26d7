from leaven.encoders import build_encoder
from leaven.errors import UserError
from leaven.methods import DataSpec, NonNegative, Outputs, ShareBelowOne, Stage
from leaven.methods.latent.autoencoder import Autoencoder
from leaven.methods.latent.denoising_autoencoder import Noise, check_amount, corrupted
from leaven.modules.decoder import linear_layers


class StackedAutoencoder(Autoencoder):
    """Layers learn one after another, each to rebuild the output of the layer below, and then all together (Bengio et al. 2007, section 3).

    The first layer has the likelihood of the sample; further layers minimise the squared error.

    widths: of the layers, two or more; the last is the code, which is linear. activation: after the others, "relu", "sigmoid" or "tanh". pretraining:
    share of the training in which layers learn one by one (0 to below 1). noise: what corrupts a layer's input meanwhile, "mask", "gaussian" or
    "salt_and_pepper" (Vincent et al. 2010). amount: of noise, a share or a deviation (0: none). likelihood: of a value given its reconstruction,
    "bernoulli", "gaussian", "categorical" or "multinomial"; "auto" chooses by the data.
    """

    paper = "Greedy Layer-Wise Training of Deep Networks (Bengio et al.)"
    year = 2007

    def __init__(
        self,
        data: DataSpec,
        *,
        widths: tuple[int, ...] = (512, 256, 32),
        activation: str = "relu",
        pretraining: ShareBelowOne = 0.5,
        noise: Noise = "mask",
        amount: NonNegative = 0.0,
        likelihood: str = "auto",
    ):
        if len(widths) < 2:
            raise UserError(f"widths must name two layers or more, not {widths}")
        check_amount(noise, amount)
        encoder = build_encoder("dense", data.roles["x"], {"widths": widths[:-1], "activation": activation, "last": activation})
        super().__init__(encoder, code=widths[-1], likelihood=likelihood)
        self.pretraining, self.noise, self.amount = pretraining, noise, amount
        ups, downs = linear_layers(self.encoder), linear_layers(self.decoder)
        self.pairs = list(zip(ups, reversed(downs), strict=True)) if pretraining else []

    def stages(self):
        share = self.pretraining / max(1, len(self.pairs))
        alone = [Stage(f"layer{n + 1}", share, trains=pair if n else (*pair, self.likelihood)) for n, pair in enumerate(self.pairs)]
        return [*alone, Stage("together", 1 - self.pretraining)]

    def activation(self, layer, field):
        return field if layer is self.encoder.code else self.encoder.inner.between(field)

    def views(self, batch, draw):
        views = super().views(batch, draw)
        if self.stage == len(self.pairs):
            return views
        below = self.encoder.inner.values(views["x"])
        for layer, _ in self.pairs[: self.stage]:
            below = self.activation(layer, layer(below))
        low, high = (0.0, 1.0) if self.stage else (-2.0, 2.0)
        x = corrupted(below, self.noise, self.amount, draw.child("noise"), low, high)
        return {"x": x, "target": below if self.stage else views["target"]}

    def forward(self, views):
        if self.stage == len(self.pairs):
            return super().forward(views)
        up, down = self.pairs[self.stage]
        codes = self.activation(up, up(views["x"]))
        rebuilt = down(codes)
        rebuilt = self.encoder.inner.between(rebuilt) if self.stage else rebuilt.unflatten(1, (-1, self.likelihood.per_value))
        return Outputs(codes=codes, rebuilt=rebuilt, target=views["target"])

    def loss(self, outputs):
        if 0 < self.stage < len(self.pairs):
            return {"reconstruction": (outputs.rebuilt - outputs.target).square().sum(1).mean()}
        return super().loss(outputs)

    def chance(self, outputs):
        return None if 0 < self.stage < len(self.pairs) else super().chance(outputs)

    def measures(self, outputs):
        return {} if 0 < self.stage < len(self.pairs) else super().measures(outputs)
