import torch
from jaxtyping import Float
from torch import Tensor

from leaven.methods import Encoder, Method, Outputs, Recipe
from leaven.modules import mlp


class BarlowTwins(Method):
    """Each dimension agrees between two views, and different dimensions are uncorrelated (Zbontar et al. 2021, eq. 1).

    projector: widths of the layers after the encoder; the last is the number of dimensions that are correlated. off_diagonal: weight of the squared
    correlations between different dimensions (lambda), which keeps all dimensions from becoming the same.
    """

    paper = "Barlow Twins: Self-Supervised Learning via Redundancy Reduction (Zbontar et al.)"
    year = 2021
    recipe = Recipe(optimizer="muon", lr=2e-2, batch=256, weight_decay=0.05)
    guards = {"off_diagonal": "the weight of correlations between dimensions"}

    def __init__(self, encoder: Encoder, *, projector: tuple[int, ...] = (512, 512), off_diagonal: float = 0.01):
        super().__init__(encoder)
        self.off_diagonal = off_diagonal
        self.projector = mlp(encoder.dim, *projector)

    def forward(self, views):
        features = self.encode(views)
        return Outputs(features=features, embeddings=[self.projector(feature) for feature in features])

    def loss(self, outputs):
        invariance, redundancy = barlow_twins(*outputs.embeddings)
        return {"invariance": invariance, "redundancy": self.off_diagonal * redundancy}


def cross_correlation(a: Float[Tensor, "batch dim"], b: Float[Tensor, "batch dim"]) -> Float[Tensor, "dim dim"]:
    """Correlation over the batch of each dimension of a with each of b, from -1 to 1 (Zbontar et al. 2021, eq. 2). A constant one gives 0."""
    first, second = ((z - z.mean(0)) * torch.rsqrt(z.var(0, correction=0) + 1e-5) for z in (a, b))
    return first.T @ second / len(a)


def barlow_twins(a: Float[Tensor, "batch dim"], b: Float[Tensor, "batch dim"]) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Invariance and redundancy (Zbontar et al. 2021, eq. 1): how far the diagonal of the cross-correlation is from 1, and the rest from 0,
    summed squares."""
    correlation = cross_correlation(a, b)
    diagonal = correlation.diagonal()
    return (1 - diagonal).square().sum(), correlation.square().sum() - diagonal.square().sum()
