from typing import Literal

import torch

from leaven.errors import UserError
from leaven.losses.variational import gaussian_log_prob, log_mean_exp, reparameterize
from leaven.methods import Count, Encoder, Outputs, Recipe
from leaven.methods.variational import Variational
from leaven.modules.decoder import MaskedDecoder, code_decoder
from leaven.modules.likelihood import choose_likelihood

AT_ONCE = 2**22  # values that are decoded together


class VAE(Variational):
    """A code with noise from which the sample can be rebuilt: log p(x) >= E log p(x | z) - KL(q(z | x) || p(z)) (Kingma and Welling 2014, eq. 3).

    The encoder's features are the mean of q. New pictures are the expected ones at random codes, as papers show them; other new samples, and those of
    an autoregressive decoder, are drawn from p(x | z).

    code: how many numbers (1 or more). samples: codes per sample; more than one give the tighter bound of IWAE (Burda et al. 2016, eq. 8).
    likelihood: "bernoulli", "gaussian", "categorical" or "multinomial"; "auto" takes the last for counts, Bernoulli for nearly binary data, else
    Gaussian. levels: of a categorical one. decoder: "independent" values given the code, or "autoregressive", where each value also depends on those
    before it: a decoder so strong that it may leave the code unused (Chen et al. 2017).
    """

    paper = "Auto-Encoding Variational Bayes (Kingma and Welling)"
    year = 2014
    recipe = Recipe(optimizer="adamw", lr=1e-3, batch=100, weight_decay=0.0, betas=(0.9, 0.99))
    needs = ("likelihoods",)
    causes = "beta too large, no annealing or free_bits, or a learning rate that is too high"

    def __init__(
        self,
        encoder: Encoder,
        *,
        code: int = 50,
        samples: Count = 1,
        likelihood: str = "auto",
        levels: int = 256,
        decoder: Literal["independent", "autoregressive"] = "independent",
        **variational,
    ):
        super().__init__(encoder, code, **variational)
        if samples > 1 and self.free_bits:
            raise UserError("free_bits belong to the KL, which the bound of several samples does not have", hint="set samples=1 or free_bits=0")
        self.samples = samples
        self.likelihood = choose_likelihood(likelihood, self.encoder.input, levels=levels)
        self.masked = decoder == "autoregressive"
        if self.masked and self.likelihood.name == "multinomial":
            raise UserError("counts have no order in which they could be predicted", hint="use --set decoder=independent")
        sizes = self.likelihood.values, self.likelihood.per_value
        self.decoder = MaskedDecoder(self.encoder.dim, *sizes) if self.masked else code_decoder(self.encoder, self.encoder.dim, sizes[1])

    def views(self, batch, draw):
        (x,) = self.augment(batch["x"], draw)
        noise = draw.child("noise").normal(len(batch), self.samples, self.encoder.dim)
        return {"target": self.likelihood.observe(x, draw.child("observed")), "noise": noise.to(batch.index.device)}

    def forward(self, views):
        mean, log_variance = self.posterior(self.likelihood.value(views["target"]))
        codes = reparameterize(mean, log_variance, views["noise"])
        return Outputs(mean=mean, log_variance=log_variance, codes=codes, decoded=self.decoded(codes, views["target"]), target=views["target"])

    def decoded(self, codes, target):
        """(B, samples, values, per_value) from (B, samples, code), and from the target where each value depends on those before it."""
        if not self.masked:
            return self.decoder(codes.flatten(0, 1)).unflatten(0, codes.shape[:2])
        values = self.encoder.normalize(self.likelihood.value(target)).flatten(1)
        return self.decoder(codes.flatten(0, 1), values.repeat_interleave(codes.shape[1], 0)).unflatten(0, codes.shape[:2])

    def one_by_one(self, codes, choose):
        """Targets (B, values), value by value: each is choose(outputs), where the outputs depend on the values before it."""
        target = codes.new_zeros(len(codes), self.likelihood.values)
        for place in range(self.likelihood.values):
            target[:, place] = choose(self.decoded(codes[:, None], target)[:, 0, place : place + 1])[:, 0]
        return target

    def loss(self, outputs):
        if self.samples > 1:
            weights = self.log_weights(**outputs, kl_weight=self.weight)
            return {"bound": -log_mean_exp(weights).mean()}
        nats = self.likelihood.log_prob(outputs.decoded[:, 0], outputs.target)
        return {"reconstruction": -nats.mean(), "kl": self.kl(outputs)}

    def log_weights(self, mean, log_variance, codes, decoded, target, kl_weight=1.0):
        """(B, samples): log p(x | z) + log p(z) - log q(z | x) of each code; the first is a sum over values, the others over numbers of the code."""
        count = codes.shape[1]
        nats = self.likelihood.log_prob(decoded.flatten(0, 1), target.repeat_interleave(count, 0)).unflatten(0, (-1, count))
        prior, posterior = gaussian_log_prob(codes, 0 * mean, 0 * mean), gaussian_log_prob(codes, mean, log_variance)
        return nats + kl_weight * (prior - posterior)

    def chance(self, outputs):
        return self.likelihood.chance

    def log_prob(self, value, draw):
        target = self.likelihood.observe(value, draw.child("observed"))
        mean, log_variance = self.posterior(self.likelihood.value(target))
        weights = []
        for number, some in enumerate(torch.arange(self.bound_samples).split(max(1, AT_ONCE // target.numel()))):
            codes = reparameterize(mean, log_variance, draw.child("noise", number).normal(len(target), len(some), self.encoder.dim).to(mean))
            weights.append(self.log_weights(mean, log_variance, codes, self.decoded(codes, target), target))
        return log_mean_exp(torch.cat(weights, 1))

    def decode(self, codes):
        if self.masked:
            return self.likelihood.value(self.one_by_one(codes, self.likelihood.mean))
        return self.likelihood.value(self.likelihood.mean(self.decoder(codes)))

    def sample(self, count, draw, label=None):
        codes = draw.child("codes").normal(count, self.encoder.dim).to(self.log_variance.weight)
        values = draw.child("values")
        if self.masked:
            return self.likelihood.value(self.one_by_one(codes, lambda outputs: self.likelihood.sample(outputs, values)))
        if self.encoder.modality.visible:
            return self.decode(codes)
        return self.likelihood.value(self.likelihood.sample(self.decoder(codes), values))
