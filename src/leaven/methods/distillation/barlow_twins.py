from leaven.encoders import Encoder
from leaven.losses import barlow_twins
from leaven.methods.method import Method, Outputs, Recipe
from leaven.modules import mlp
from leaven.views import Views


class BarlowTwins(Method):
    """Each dimension agrees between two views, and different dimensions are uncorrelated (Zbontar et al. 2021, eq. 1).

    projector: widths of the layers after the encoder; the last is the number of dimensions that are correlated. off_diagonal: weight of the squared
    correlations between different dimensions (lambda), which keeps all dimensions from becoming the same.
    """

    paper = "Barlow Twins: Self-Supervised Learning via Redundancy Reduction (Zbontar et al.)"
    year = 2021
    recipe = Recipe(optimizer="muon", lr=2e-2, batch=256, weight_decay=0.05)
    guards = {"off_diagonal": "the weight of correlations between dimensions"}

    def __init__(self, encoder: Encoder, *, projector: tuple[int, ...] = (512, 512), off_diagonal: float = 0.01, views: Views | None = None):
        super().__init__(encoder, views)
        self.off_diagonal = off_diagonal
        self.projector = mlp(encoder.dim, *projector)

    def forward(self, views):
        features = self.encode(views)
        return Outputs(features=features, embeddings=[self.projector(feature) for feature in features])

    def loss(self, outputs):
        invariance, redundancy = barlow_twins(*outputs.embeddings)
        return {"invariance": invariance, "redundancy": self.off_diagonal * redundancy}
