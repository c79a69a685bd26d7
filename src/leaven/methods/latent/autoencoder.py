from leaven.encoders.projected import Projected
from leaven.methods import Encoder, Recipe
from leaven.methods.reconstruction import Reconstruction
from leaven.modules.likelihood import choose_likelihood


class Autoencoder(Reconstruction):
    """A short code from which a sample can be rebuilt (Rumelhart et al. 1986): the likelihood of x given decoder(encoder(x)) rises.

    code: numbers in the code. likelihood: of a sample given its reconstruction, "bernoulli", "gaussian", "categorical" or "multinomial"; "auto"
    chooses by the data.
    """

    paper = "Learning Internal Representations by Error Propagation (Rumelhart et al.)"
    year = 1986
    recipe = Recipe(lr=2e-3, batch=256, weight_decay=0.0, betas=(0.9, 0.999))

    def __init__(self, encoder: Encoder, *, code: int = 32, likelihood: str = "auto"):
        super().__init__(Projected.around(encoder, code), choose_likelihood(likelihood, encoder.input))
