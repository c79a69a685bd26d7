from torch.nn import functional as F

from leaven.encoders import Encoder
from leaven.losses import covariance, variance_hinge
from leaven.methods.method import Method, Outputs, Recipe
from leaven.modules import mlp
from leaven.views import Views


class VICReg(Method):
    """Two views agree, while each dimension varies and no two vary together (Bardes et al. 2022, eq. 6).

    projector: widths of the layers after the encoder. invariance: weight of the mean squared distance between two views (also a mean over dimensions,
    as in the authors' code). variance: weight of the hinge on deviations below 1, half the sum of both views, which keeps embeddings from shrinking
    to a point. covariance: weight of squared covariances of different dimensions.
    """

    paper = "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning (Bardes et al.)"
    year = 2022
    recipe = Recipe(optimizer="muon", lr=2e-2, batch=256, weight_decay=0.05)
    guards = {"variance": "the hinge on each dimension's deviation"}

    def __init__(
        self,
        encoder: Encoder,
        *,
        projector: tuple[int, ...] = (512, 512),
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
        views: Views | None = None,
    ):
        super().__init__(encoder, views)
        self.invariance, self.variance, self.covariance = invariance, variance, covariance
        self.projector = mlp(encoder.dim, *projector)

    def forward(self, views):
        features = self.encode(views)
        return Outputs(features=features, embeddings=[self.projector(feature) for feature in features])

    def loss(self, outputs):
        a, b = outputs.embeddings
        return {
            "invariance": self.invariance * F.mse_loss(a, b),
            "variance": self.variance * (variance_hinge(a) + variance_hinge(b)) / 2,
            "covariance": self.covariance * (covariance(a) + covariance(b)),
        }
