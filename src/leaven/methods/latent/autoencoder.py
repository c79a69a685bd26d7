from leaven.encoders import Encoder
from leaven.encoders.projected import Projected
from leaven.methods.method import Method, Outputs, Recipe
from leaven.modules.decoder import code_decoder
from leaven.modules.likelihood import choose_likelihood
from leaven.views import Views


class Autoencoder(Method):
    """A short code from which a sample can be rebuilt (Rumelhart et al. 1986): the likelihood of x given decoder(encoder(x)) rises.

    code: numbers in the code. likelihood: of a sample given what is rebuilt, "bernoulli", "gaussian", "categorical" or "multinomial"; "auto" chooses
    by the data.
    """

    paper = "Learning Internal Representations by Error Propagation (Rumelhart et al.)"
    year = 1986
    recipe = Recipe(lr=2e-3, batch=256, weight_decay=0.0, betas=(0.9, 0.999))
    purpose = "plain"
    loss_over_batch = False

    def __init__(self, encoder: Encoder, *, code: int = 32, likelihood: str = "auto", views: Views | None = None):
        super().__init__(Projected.around(encoder, code), views)
        self.likelihood = choose_likelihood(likelihood, encoder.input)
        self.decoder = code_decoder(self.encoder, self.encoder.dim, self.likelihood.per_value)

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
        """How much of what differs between samples is lost: 1 where nothing but the mean sample is rebuilt."""
        return {"unexplained": self.likelihood.unexplained(outputs.rebuilt, outputs.target)}
