from leaven.encoders.projected import Projected
from leaven.methods import Encoder, NonNegative, Recipe
from leaven.methods.reconstruction import Reconstruction
from leaven.modules.likelihood import choose_likelihood


class SparseAutoencoder(Reconstruction):
    """Rebuild a sample from a code in which few numbers are not 0: an L1 penalty on the output of a ReLU (Ranzato et al. 2007; Ng 2011).

    The L1 norm is that of the code at unit length (Hoyer 2004, section 3.1), since a decoder could otherwise make up for a code that merely shrinks.

    code: numbers in the code. weight: of the penalty, which lies between 1 (one number is not 0) and the square root of the code's length (all are
    equal), relative to the nats of a sample. likelihood: of a sample given its reconstruction, "bernoulli", "gaussian", "categorical" or
    "multinomial"; "auto" chooses by the data.
    """

    paper = "Efficient Learning of Sparse Representations with an Energy-Based Model (Ranzato et al.)"
    year = 2007
    recipe = Recipe(lr=2e-3, batch=256, weight_decay=0.0, betas=(0.9, 0.999))

    def __init__(self, encoder: Encoder, *, code: int = 128, weight: NonNegative = 3.0, likelihood: str = "auto"):
        super().__init__(Projected.around(encoder, code, activation="relu"), choose_likelihood(likelihood, encoder.input))
        self.weight = weight

    def loss(self, outputs):
        length = outputs.codes.norm(dim=1).clamp(min=1e-6)
        return {**super().loss(outputs), "sparsity": self.weight * (outputs.codes.norm(p=1, dim=1) / length).mean()}

    def chance(self, outputs):
        return None

    def measures(self, outputs):
        active = outputs.codes > 0
        return {**super().measures(outputs), "active_share": active.float().mean().item(), "dead_units": (~active.any(0)).float().mean().item()}

    def diagnose(self, measures):
        why = f"{measures['dead_units']:.0%} of the code's numbers are 0 for all samples; usual causes: too high a weight or rate, too long a code"
        return {"dead code": why} if measures["dead_units"] > 0.5 else {}
