"""What auto-encoders share: a code, a decoder, and the likelihood of a sample given what the decoder makes of its code."""

from leaven.methods import Method, Outputs
from leaven.modules.decoder import code_decoder


class Reconstruction(Method):
    """The likelihood of a sample given decoder(encoder(sample)) rises. The encoder's features are the code."""

    purpose = "plain"
    needs = ("likelihoods",)
    loss_over_batch = False

    def __init__(self, encoder, likelihood):
        super().__init__(encoder)
        self.likelihood = likelihood
        self.decoder = code_decoder(encoder, encoder.dim, likelihood.per_value)

    def views(self, batch, draw):
        (x,) = self.augment(batch["x"], draw)
        return {"x": x, "target": self.likelihood.expected(x)}

    def forward(self, views):
        codes = self.encoder(views["x"])
        return Outputs(codes=codes, rebuilt=self.decoder(codes), target=views["target"])

    def loss(self, outputs):
        return {"reconstruction": -self.likelihood.log_prob(outputs.rebuilt, outputs.target).mean()}

    def chance(self, outputs):
        return self.likelihood.chance

    def decode(self, codes):
        return self.likelihood.value(self.likelihood.mean(self.decoder(codes)))

    def measures(self, outputs):
        """The share of the differences between samples that is lost: 1 where only the mean sample is rebuilt."""
        return {"unexplained": self.likelihood.unexplained(outputs.rebuilt, outputs.target)}
