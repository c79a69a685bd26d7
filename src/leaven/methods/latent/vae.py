import torch
from torch import nn

from leaven.encoders import Encoder, Projected
from leaven.errors import UserError
from leaven.losses.variational import divergence, drawn, log_mean_exp, log_normal
from leaven.methods.method import Method, Outputs, Recipe
from leaven.modules.decoder import MaskedDecoder, code_decoder
from leaven.modules.likelihood import choose_likelihood
from leaven.views import Views

ACTIVE = 0.01  # variance over the data of a code's mean, above which it is used (Burda et al. 2016, section 4.4)
DECODERS = ("independent", "autoregressive")
AT_ONCE = 2**22  # values that are decoded together


class VAE(Method):
    """A code with noise from which the sample can be told: log p(x) >= E log p(x | z) - KL(q(z | x) || p(z)) (Kingma and Welling 2014, eq. 3).

    The encoder's features are the mean of q. New pictures are the expected ones at random codes, as papers show them; other new samples, and those of
    an autoregressive decoder, are drawn from p(x | z).

    code: how many numbers (1 or more). beta: weight of the KL (0 or more; 1 gives the bound, Higgins et al. 2017). annealing: share of the training
    (0-1) over which that weight rises from 0 (Bowman et al. 2016). free_bits: nats that each number of the code may carry for nothing, on the mean of
    the batch (0 or more; Kingma et al. 2016, eq. 15). samples: codes drawn for each sample; more than one give the tighter bound of IWAE (Burda et
    al. 2016, eq. 8). bound_samples: as many for `log_prob`. likelihood: "bernoulli", "gaussian", "categorical" or "multinomial"; "auto" takes the
    last for counts, Bernoulli for nearly binary data, else Gaussian. levels: of a categorical one. decoder: "independent" values given the code, or
    "autoregressive", each given those before it as well: so strong that it may leave the code unused (Chen et al. 2017).
    """

    paper = "Auto-Encoding Variational Bayes (Kingma and Welling)"
    year = 2014
    recipe = Recipe(optimizer="adamw", lr=1e-3, batch=100, weight_decay=0.0, betas=(0.9, 0.99))
    purpose = "plain"
    log_prob_is = "lower bound of it"
    progress: torch.Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        code: int = 50,
        beta: float = 1.0,
        annealing: float = 0.0,
        free_bits: float = 0.0,
        samples: int = 1,
        bound_samples: int = 50,
        likelihood: str = "auto",
        levels: int = 256,
        decoder: str = "independent",
        views: Views | None = None,
    ):
        if min(beta, free_bits) < 0 or not 0 <= annealing <= 1 or min(samples, bound_samples) < 1:
            raise UserError("beta and free_bits must be 0 or more, annealing from 0 to 1, samples and bound_samples 1 or more")
        if samples > 1 and free_bits:
            raise UserError("free_bits are of a KL, which the bound of several samples has not", hint="set samples=1 or free_bits=0")
        if decoder not in DECODERS:
            raise UserError(f"no decoder is named {decoder!r}", hint=f"choose {' or '.join(DECODERS)}")
        super().__init__(Projected.around(encoder, code), views)
        self.beta, self.annealing, self.free_bits, self.samples, self.bound_samples = beta, annealing, free_bits, samples, bound_samples
        self.log_variance = nn.Linear(self.encoder.inner.dim, self.encoder.dim)
        self.likelihood = choose_likelihood(likelihood, self.encoder.input, levels=levels)
        self.masked = decoder == "autoregressive"
        if self.masked and self.likelihood.name == "multinomial":
            raise UserError("counts have no order in which they could be told", hint="use --set decoder=independent")
        sizes = self.likelihood.values, self.likelihood.per_value
        self.decoder = MaskedDecoder(self.encoder.dim, *sizes) if self.masked else code_decoder(self.encoder, self.encoder.dim, sizes[1])
        self.register_buffer("progress", torch.zeros(()))

    def views(self, batch, draw):
        (x,) = self.augment(batch["x"], draw)
        noise = draw.child("noise").normal(len(batch), self.samples, self.encoder.dim)
        return {"target": self.likelihood.observe(x, draw.child("observed")), "noise": noise.to(batch.index.device)}

    def forward(self, views):
        mean, log_variance = self.posterior(views["target"])
        codes = drawn(mean, log_variance, views["noise"])
        return Outputs(mean=mean, log_variance=log_variance, codes=codes, decoded=self.decoded(codes, views["target"]), target=views["target"])

    def posterior(self, target):
        """Mean and logarithm of the variance of q(z | x), both (B, code)."""
        features = self.encoder.inner(self.likelihood.value(target))
        return self.encoder.code(features), self.log_variance(features)

    def decoded(self, codes, target):
        """(B, samples, values, per_value) from (B, samples, code), and the samples themselves where each value is told those before it."""
        if not self.masked:
            return self.decoder(codes.flatten(0, 1)).unflatten(0, codes.shape[:2])
        values = self.encoder.normalize(self.likelihood.value(target)).flatten(1)
        return self.decoder(codes.flatten(0, 1), values.repeat_interleave(codes.shape[1], 0)).unflatten(0, codes.shape[:2])

    def one_by_one(self, codes, chosen):
        """Targets (B, values), each value chosen(outputs) of what those before it lead to."""
        target = codes.new_zeros(len(codes), self.likelihood.values)
        for place in range(self.likelihood.values):
            target[:, place] = chosen(self.decoded(codes[:, None], target)[:, 0, place : place + 1])[:, 0]
        return target

    @property
    def weight(self):
        """Of the KL: from 0 to beta over the annealing."""
        return self.beta * (self.progress / self.annealing).clamp(max=1) if self.annealing else self.beta

    def loss(self, outputs):
        if self.samples > 1:
            weights = self.log_weights(**outputs, kl_weight=self.weight)
            return {"bound": -log_mean_exp(weights).mean()}
        nats = self.likelihood.log_prob(outputs.decoded[:, 0], outputs.target)
        kl = divergence(outputs.mean, outputs.log_variance).mean(0)
        return {"reconstruction": -nats.mean(), "kl": self.weight * kl.clamp(min=self.free_bits).sum()}

    def log_weights(self, mean, log_variance, codes, decoded, target, kl_weight=1.0):
        """(B, samples): log p(x | z) + log p(z) - log q(z | x) of each code; the first is a sum over values, the others over numbers of the code."""
        count = codes.shape[1]
        nats = self.likelihood.log_prob(decoded.flatten(0, 1), target.repeat_interleave(count, 0)).unflatten(0, (-1, count))
        prior, posterior = log_normal(codes, 0 * mean, 0 * mean), log_normal(codes, mean, log_variance)
        return nats + kl_weight * (prior - posterior)

    def after_step(self, outputs, progress):
        super().after_step(outputs, progress)
        self.progress.fill_(progress)

    def chance(self, outputs):
        return self.likelihood.chance

    def examine(self, views):
        outputs = self(views)
        kl = divergence(outputs.mean.float(), outputs.log_variance.float()).sum(1).mean()
        return {"kl_nats": kl.item(), "active_units": int((outputs.mean.float().var(0) > ACTIVE).sum())}

    def diagnose(self, measures):
        if self.progress < self.annealing or (measures["kl_nats"] > 0.1 and measures["active_units"]):
            return {}
        told = f"the code says {measures['kl_nats']:.2g} nats of a sample, and {measures['active_units']} of its {self.encoder.dim} numbers are used"
        return {"posterior collapse": f"{told}; usual causes: beta too large, no annealing or free_bits, or a learning rate that is too high"}

    def log_prob(self, value, draw):
        target = self.likelihood.observe(value, draw.child("observed"))
        mean, log_variance = self.posterior(target)
        weights = []
        for number, some in enumerate(torch.arange(self.bound_samples).split(max(1, AT_ONCE // target.numel()))):
            codes = drawn(mean, log_variance, draw.child("noise", number).normal(len(target), len(some), self.encoder.dim).to(mean))
            weights.append(self.log_weights(mean, log_variance, codes, self.decoded(codes, target), target))
        return log_mean_exp(torch.cat(weights, 1))

    def decode(self, codes):
        if self.masked:
            return self.likelihood.value(self.one_by_one(codes, self.likelihood.mean))
        return self.likelihood.value(self.likelihood.mean(self.decoder(codes)))

    def sample(self, count, draw, label=None):
        codes = draw.child("codes").normal(count, self.encoder.dim).to(self.log_variance.weight)
        drawn = draw.child("values")
        if self.masked:
            return self.likelihood.value(self.one_by_one(codes, lambda outputs: self.likelihood.sample(outputs, drawn)))
        if self.encoder.input.modality == "pixels":
            return self.decode(codes)
        return self.likelihood.value(self.likelihood.sample(self.decoder(codes), drawn))
