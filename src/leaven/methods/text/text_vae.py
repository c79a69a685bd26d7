import torch
from torch import nn

from leaven.encoders import Projected, TextEncoder
from leaven.errors import UserError
from leaven.losses.variational import divergence, drawn, log_mean_exp, log_normal
from leaven.methods.method import Method, Outputs, Recipe
from leaven.modules.text_decoder import TextDecoder, gumbel
from leaven.views import Views

ACTIVE = 0.01  # variance over the data of a code's mean, above which it is used (Burda et al. 2016, section 4.4)


class TextVAE(Method):
    """A code with noise from which a text can be written: log p(x) >= E log p(x | z) - KL(q(z | x) || p(z)) (Bowman et al. 2016, eq. 1).

    A decoder that knows the tokens before may leave the code unused: the KL is annealed, parts of it are free, and tokens are hidden from the
    decoder.

    code: how many numbers. beta: weight of the KL (1 gives the bound). annealing: share of the training (0-1) over which that weight rises from 0.
    free_bits: nats that each number of the code may carry for nothing, on the mean of the batch (Kingma et al. 2016, eq. 15). word_dropout: share of
    tokens that the decoder is not told (0-1). depth: layers of the decoder. bound_samples: codes drawn for `log_prob`.
    """

    paper = "Generating Sentences from a Continuous Space (Bowman et al.)"
    year = 2016
    modality = "text"
    purpose = "plain"
    recipe = Recipe(lr=1e-3, batch=128, weight_decay=0.0, warmup=0.05, clip=1.0)
    log_prob_is = "lower bound of it"
    progress: torch.Tensor

    def __init__(
        self,
        encoder: TextEncoder,
        *,
        code: int = 32,
        beta: float = 1.0,
        annealing: float = 0.5,
        free_bits: float = 0.1,
        word_dropout: float = 0.3,
        depth: int = 1,
        bound_samples: int = 50,
        views: Views | None = None,
    ):
        if min(beta, free_bits) < 0 or not 0 <= annealing <= 1 or not 0 <= word_dropout <= 1 or bound_samples < 1:
            raise UserError("beta and free_bits must be 0 or more, annealing and word_dropout from 0 to 1, bound_samples 1 or more")
        super().__init__(Projected.around(encoder, code), views)
        self.beta, self.annealing, self.free_bits, self.word_dropout, self.bound_samples = beta, annealing, free_bits, word_dropout, bound_samples
        self.log_variance = nn.Linear(self.encoder.inner.dim, code)
        self.decoder = TextDecoder(self.encoder.inner, code, depth=depth)
        self.register_buffer("progress", torch.zeros(()))

    def views(self, batch, draw):
        (x,) = self.augment(batch["x"], draw)
        noise = draw.child("noise").normal(len(batch), 1, self.encoder.dim).to(x.ids.device)
        hidden = draw.child("hidden").uniform(len(x), self.encoder.input.shape[0])[:, : x.ids.shape[1]].to(x.ids.device) < self.word_dropout
        hidden[:, 0] = False  # the token that begins every text
        return {"x": x, "noise": noise, "hidden": hidden}

    def forward(self, views):
        mean, log_variance = self.posterior(views["x"])
        (codes,) = drawn(mean, log_variance, views["noise"]).unbind(1)
        return Outputs(mean=mean, log_variance=log_variance, **self.decoder(codes, views["x"], views["hidden"]))

    def posterior(self, x):
        """Mean and logarithm of the variance of q(z | x), both (B, code)."""
        features = self.encoder.inner(x)
        return self.encoder.code(features), self.log_variance(features)

    @property
    def weight(self):
        """Of the KL: from 0 to beta over the annealing."""
        return self.beta * (self.progress / self.annealing).clamp(max=1) if self.annealing else self.beta

    def loss(self, outputs):
        kl = divergence(outputs.mean, outputs.log_variance).mean(0)
        return {"reconstruction": outputs.nats.mean(), "kl": self.weight * kl.clamp(min=self.free_bits).sum()}

    def after_step(self, outputs, progress):
        super().after_step(outputs, progress)
        self.progress.fill_(progress)

    def examine(self, views):
        outputs = self(views)
        kl = divergence(outputs.mean.float(), outputs.log_variance.float()).sum(1).mean()
        return {"kl_nats": kl.item(), "active_units": int((outputs.mean.float().var(0) > ACTIVE).sum())}

    def diagnose(self, measures):
        if self.progress < self.annealing or (measures["kl_nats"] > 0.1 and measures["active_units"]):
            return {}
        told = f"the code says {measures['kl_nats']:.2g} nats of a text, and {measures['active_units']} of its {self.encoder.dim} numbers are used"
        return {"posterior collapse": f"{told}; usual causes: no annealing, free_bits or word_dropout, beta too large, or a decoder that is too deep"}

    def log_prob(self, value, draw):
        x = self.encoder.inner.in_tokens(value)
        mean, log_variance = self.posterior(x)
        codes = drawn(mean, log_variance, draw.normal(len(mean), self.bound_samples, self.encoder.dim).to(mean))
        nats = torch.stack([-self.decoder(each, x)["nats"] for each in codes.unbind(1)], 1)
        return log_mean_exp(nats + log_normal(codes, 0 * mean, 0 * mean) - log_normal(codes, mean, log_variance))

    def decode(self, codes):
        return self.decoder.write(codes)

    def sample(self, count, draw, label=None):
        device = self.log_variance.weight.device
        codes = draw.child("codes").normal(count, self.encoder.dim).to(device)
        return self.decoder.write(codes, gumbel(draw.child("tokens"), count, self.encoder.input).to(device))
