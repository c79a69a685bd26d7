from typing import Annotated, Literal

import torch
from torch.nn import functional as F

from leaven.methods import Encoder, Method, Outputs, Range, Recipe
from leaven.modules import mlp


class Triplet(Method):
    """A view is nearer to the other view of its sample than to other samples, by a margin (Schroff et al. 2015, eq. 3).

    Labels are not used: the positive of a view is the other view of its sample.

    margin: how much farther a negative must be than the positive, in squared distance of normalised embeddings (above 0, below 4). negatives: which
    other samples are compared. "semi-hard": the nearest one that is farther than the positive (section 3.2), or the farthest one if none is.
    "hard": the nearest one. "all": all of them. projector: widths of the layers after the encoder.
    """

    paper = "FaceNet: A Unified Embedding for Face Recognition and Clustering (Schroff et al.)"
    year = 2015
    recipe = Recipe(optimizer="muon", lr=6e-2, batch=256, weight_decay=0.05)

    def __init__(
        self,
        encoder: Encoder,
        *,
        margin: Annotated[float, Range("above 0 and below 4", lambda margin: 0 < margin < 4)] = 0.2,
        negatives: Literal["semi-hard", "hard", "all"] = "semi-hard",
        projector: tuple[int, ...] = (512, 128),
    ):
        super().__init__(encoder)
        self.margin, self.negatives = margin, negatives
        self.projector = mlp(encoder.dim, *projector, last_norm=True)

    def forward(self, views):
        features = self.encode(views)
        return Outputs(features=features, embeddings=[self.projector(feature) for feature in features])

    def loss(self, outputs):
        a, b = outputs.embeddings
        return {"triplet": (triplet(a, b, self.margin, self.negatives) + triplet(b, a, self.margin, self.negatives)) / 2}

    def chance(self, outputs):
        return self.margin


def triplet(anchors, positives, margin, negatives):
    """The mean over anchors of max(0, d(anchor, positive) - d(anchor, negative) + margin), d the squared distance of normalised embeddings.

    Negatives of an anchor are the positives of the others.
    """
    if len(anchors) < 2:
        raise ValueError("triplets need at least 2 samples: a batch of 1 has no negatives")
    distances = 2 - 2 * F.normalize(anchors, dim=1, eps=1e-6) @ F.normalize(positives, dim=1, eps=1e-6).T
    positive = distances.diagonal()[:, None]
    own = torch.eye(len(distances), dtype=torch.bool, device=distances.device)
    if negatives == "all":
        hinges = (positive - distances + margin).clamp_min(0).masked_fill(own, 0)
        return hinges.sum() / (hinges.numel() - len(hinges))
    negative = distances.masked_fill(own, torch.inf)
    if negatives == "semi-hard":
        further = negative.masked_fill(negative <= positive, torch.inf)
        furthest = distances.masked_fill(own, -torch.inf).amax(1)
        nearest = further.amin(1)
        chosen = torch.where(nearest.isinf(), furthest, nearest)
    else:
        chosen = negative.amin(1)
    return (positive[:, 0] - chosen + margin).clamp_min(0).mean()
