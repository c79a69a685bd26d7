import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from leaven.methods import Encoder, Method, Outputs, Recipe
from leaven.modules import mlp


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
        self, encoder: Encoder, *, projector: tuple[int, ...] = (512, 512), invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0
    ):
        super().__init__(encoder)
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


def variance_hinge(z: Float[Tensor, "batch dim"]) -> Float[Tensor, ""]:
    """Mean over dimensions of max(0, 1 - standard deviation) (Bardes et al. 2022, eq. 1 and 2)."""
    return torch.relu(1 - (z.var(0) + 1e-4).sqrt()).mean()


def covariance(z: Float[Tensor, "batch dim"]) -> Float[Tensor, ""]:
    """Sum of squared covariances of different dimensions, divided by their number (Bardes et al. 2022, eq. 3 and 4)."""
    centered = z - z.mean(0)
    matrix = centered.T @ centered / (len(z) - 1)
    return (matrix.square().sum() - matrix.diagonal().square().sum()) / z.shape[1]
