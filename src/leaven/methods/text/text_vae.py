import torch

from leaven.encoders import TextEncoder
from leaven.losses.variational import gaussian_log_prob, log_mean_exp, reparameterize
from leaven.methods import NonNegative, Outputs, Recipe, Share
from leaven.methods.variational import Variational
from leaven.modules.text import TextDecoder


class TextVAE(Variational):
    """A code with noise from which a text can be written: log p(x) >= E log p(x | z) - KL(q(z | x) || p(z)) (Bowman et al. 2016, eq. 1).

    A decoder that knows the tokens so far may leave the code unused. Therefore the KL is annealed, parts of it are free, and tokens are hidden from
    the decoder.

    code: how many numbers. word_dropout: share of tokens that are hidden from the decoder (0-1). depth: layers of the decoder. bound_samples: codes
    per text for `log_prob`.
    """

    paper = "Generating Sentences from a Continuous Space (Bowman et al.)"
    year = 2016
    modality = "text"
    recipe = Recipe(lr=1e-3, batch=128, weight_decay=0.0, warmup=0.05, clip=1.0)
    causes = "no annealing, free_bits or word_dropout, beta too large, or a decoder that is too deep"

    def __init__(
        self,
        encoder: TextEncoder,
        *,
        code: int = 32,
        annealing: Share = 0.5,
        free_bits: NonNegative = 0.1,
        word_dropout: Share = 0.3,
        depth: int = 1,
        **variational,
    ):
        super().__init__(encoder, code, annealing=annealing, free_bits=free_bits, **variational)
        self.word_dropout = word_dropout
        self.decoder = TextDecoder(self.encoder.inner, code, depth=depth)

    def views(self, batch, draw):
        (x,) = self.augment(batch["x"], draw)
        noise = draw.child("noise").normal(len(batch), 1, self.encoder.dim).to(x.ids.device)
        hidden = draw.child("hidden").uniform(len(x), self.encoder.input.shape[0])[:, : x.ids.shape[1]].to(x.ids.device) < self.word_dropout
        hidden[:, 0] = False  # the token that begins every text
        return {"x": x, "noise": noise, "hidden": hidden}

    def forward(self, views):
        mean, log_variance = self.posterior(views["x"])
        (codes,) = reparameterize(mean, log_variance, views["noise"]).unbind(1)
        return Outputs(mean=mean, log_variance=log_variance, **self.decoder(codes, views["x"], views["hidden"]))

    def loss(self, outputs):
        return {"reconstruction": outputs.nats.mean(), "kl": self.kl(outputs)}

    def log_prob(self, value, draw):
        x = self.encoder.inner.in_tokens(value)
        mean, log_variance = self.posterior(x)
        codes = reparameterize(mean, log_variance, draw.normal(len(mean), self.bound_samples, self.encoder.dim).to(mean))
        nats = torch.stack([-self.decoder(code, x)["nats"] for code in codes.unbind(1)], 1)
        return log_mean_exp(nats + gaussian_log_prob(codes, 0 * mean, 0 * mean) - gaussian_log_prob(codes, mean, log_variance))

    def decode(self, codes):
        return self.decoder.write(codes)

    def sample(self, count, draw, label=None):
        device = self.log_variance.weight.device
        codes = draw.child("codes").normal(count, self.encoder.dim).to(device)
        return self.decoder.write(codes, draw.child("tokens").gumbel(count, self.encoder.input.shape[0], self.encoder.input.vocabulary).to(device))
