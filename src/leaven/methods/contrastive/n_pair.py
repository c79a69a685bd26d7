import math

import torch
from torch import nn
from torch.nn import functional as F

from leaven.methods import Encoder, Method, NonNegative, Outputs, Recipe
from leaven.modules import mlp


class NPair(Method):
    """An anchor's inner product with its positive exceeds those with the positives of all others (N-pair-mc of Sohn 2016).

    regularization: weight of the mean squared length of the embeddings, which are not normalised (0 or more). projector: widths of the layers after
    the encoder.
    """

    paper = "Improved Deep Metric Learning with Multi-class N-pair Loss Objective (Sohn)"
    year = 2016
    recipe = Recipe(optimizer="muon", lr=7e-3, batch=256, weight_decay=0.05)

    def __init__(self, encoder: Encoder, *, regularization: NonNegative = 0.02, projector: tuple[int, ...] = (512, 128)):
        super().__init__(encoder)
        self.regularization = regularization
        self.projector = mlp(encoder.dim, *projector)
        nn.init.normal_(self.projector[-1].weight, std=0.01)  # nothing normalises lengths, so they are small at first

    def forward(self, views):
        features = self.encode(views)
        return Outputs(features=features, embeddings=[self.projector(feature) for feature in features])

    def loss(self, outputs):
        anchor, positive = outputs.embeddings
        return {"n_pair": n_pair(anchor, positive), "length": self.regularization * torch.cat([anchor, positive]).square().sum(1).mean()}

    def chance(self, outputs):
        return math.log(len(outputs.embeddings[0]))


def n_pair(anchor, positive):
    """The mean over i of log(1 + sum over j != i of exp(anchor_i . positive_j - anchor_i . positive_i))."""
    if len(anchor) < 2:
        raise ValueError("N-pair loss needs at least 2 samples: a batch of 1 has no negatives")
    return F.cross_entropy(anchor @ positive.T, torch.arange(len(anchor), device=anchor.device))
