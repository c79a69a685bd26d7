import math
from typing import Literal

from leaven.encoders import Quantized
from leaven.methods import Encoder, Method, NonNegative, Outputs, Recipe, ShareBelowOne
from leaven.modules.codebook import perplexity, straight_through
from leaven.modules.decoder import MapDecoder, ValueDecoder
from leaven.modules.heads import mlp
from leaven.modules.likelihood import choose_likelihood


class VQVAE(Method):
    """A code of the nearest codebook vectors, one at each place, from which the sample can be rebuilt (van den Oord et al. 2017, eq. 3).

    codes: vectors in the codebook (2 or more). size: numbers of each vector. groups: vectors that stand for a sample of plain numbers; pictures have
    one for each place of the encoder's maps. update: how the codebook learns, "mean" (running means of the vectors that each code replaces) or "loss"
    (the second term of eq. 3). momentum: of the running means (0-1). commitment: weight of the term that holds the encoder to its codes (0 or more).
    restart: codes that are used less than this share of the average start again from the data (0: none does). likelihood: "bernoulli", "gaussian",
    "categorical" or "multinomial"; "auto" takes the last for counts, Bernoulli for nearly binary data, else Gaussian. levels: of a categorical one.
    decoder_width: channels of the decoder's first layer.
    """

    paper = "Neural Discrete Representation Learning (van den Oord et al.)"
    year = 2017
    recipe = Recipe(optimizer="adamw", lr=1e-3, batch=128, weight_decay=0.0)
    encoder: Quantized
    decoder: MapDecoder | ValueDecoder
    purpose = "plain"
    needs = ("likelihoods",)
    guards = {"restart": "the restart of codes that are not used"}

    def __init__(
        self,
        encoder: Encoder,
        *,
        codes: int = 256,
        size: int = 16,
        groups: int = 8,
        update: Literal["mean", "loss"] = "mean",
        momentum: ShareBelowOne = 0.97,
        commitment: NonNegative = 0.25,
        restart: ShareBelowOne = 0.05,
        likelihood: str = "auto",
        levels: int = 256,
        decoder_width: int = 128,
    ):
        super().__init__(Quantized.around(encoder, codes, size, groups))
        self.update, self.momentum, self.commitment, self.restart = update, momentum, commitment, restart
        self.encoder.codebook.weight.requires_grad_(update == "loss")
        self.likelihood = choose_likelihood(likelihood, self.encoder.input, levels=levels)
        per_value = self.likelihood.per_value
        if self.encoder.pictures:
            channels, *sides = encoder.input.shape
            self.decoder = MapDecoder((size, *self.encoder.grid), channels * per_value, tuple(sides), width=decoder_width)
        else:
            self.decoder = ValueDecoder(mlp(self.encoder.dim, decoder_width, decoder_width, self.likelihood.values * per_value), per_value)

    @classmethod
    def inputs(cls, data):
        return {"x": "maps" if "x" in data.roles and data.roles["x"].planar else "features"}

    def views(self, batch, draw):
        (x,) = self.augment(batch["x"], draw)
        order = draw.child("restart").uniform(len(batch), math.prod(self.encoder.grid))
        return {"target": self.likelihood.observe(x, draw.child("observed")), "order": order.to(batch.index.device)}

    def forward(self, views):
        vectors = self.encoder.vectors(self.likelihood.value(views["target"]))
        chosen = self.encoder.codebook.nearest(vectors)
        codes = self.encoder.codebook(chosen)
        decoded = self.decoded(straight_through(vectors, codes.to(vectors)))
        return Outputs(vectors=vectors, codes=codes, chosen=chosen, decoded=decoded, target=views["target"], order=views["order"])

    def decoded(self, codes):
        """(B, values, per_value) from (B, places, size)."""
        if not self.encoder.pictures:
            return self.decoder(codes.flatten(1))
        maps = self.decoder(codes.transpose(1, 2).unflatten(2, self.encoder.grid))
        return maps.unflatten(1, (-1, self.likelihood.per_value)).movedim(2, -1).flatten(1, 3)

    def loss(self, outputs):
        terms = {
            "reconstruction": -self.likelihood.log_prob(outputs.decoded, outputs.target).mean(),
            "commitment": self.commitment * (outputs.vectors - outputs.codes.detach()).square().sum((1, 2)).mean(),
        }
        if self.update == "loss":
            terms["codebook"] = (outputs.vectors.detach() - outputs.codes).square().sum((1, 2)).mean()
        return terms

    def after_step(self, outputs, progress):
        super().after_step(outputs, progress)
        codebook, vectors = self.encoder.codebook, outputs.vectors.flatten(0, 1)
        codebook.follow(vectors, outputs.chosen.flatten(), self.momentum, moves=self.update == "mean")
        if self.restart:
            codebook.restart(vectors[outputs.order.flatten().argsort()], self.restart)

    def chance(self, outputs):
        return self.likelihood.chance

    def measures(self, outputs):
        lost = self.likelihood.unexplained(outputs.decoded, outputs.target)
        return {"perplexity": perplexity(outputs.chosen, len(self.encoder.codebook.usage)), "unexplained": lost}

    def diagnose(self, measures):
        codes = len(self.encoder.codebook.usage)
        if measures["perplexity"] > max(1.5, codes / 20):
            return {}
        use = f"about {measures['perplexity']:.1f} of {codes} codes are in use"
        return {"codebook collapse": f"{use}; usual causes: restart=0, a learning rate that is too high, or far more codes than the data has parts"}

    def decode(self, codes):
        return self.likelihood.value(self.likelihood.mean(self.decoded(codes.unflatten(1, (-1, self.encoder.size)))))
