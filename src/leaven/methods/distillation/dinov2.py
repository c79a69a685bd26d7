import torch
from torch.nn import functional as F

from leaven.methods import Encoder, Recipe
from leaven.methods.distillation.ibot import IBOT
from leaven.modules.heads import Balancing


class DINOv2(IBOT):
    """iBOT with a separate head for patches, targets balanced by Sinkhorn, and features that spread out (Oquab et al. 2023, section 4).

    prototypes: how many there are for pictures, and again for patches. koleo: weight of the term that keeps each feature away from its nearest
    neighbour in the batch. centering: balance the targets, so that no prototype takes all samples.
    """

    paper = "DINOv2: Learning Robust Visual Features without Supervision (Oquab et al.)"
    year = 2023
    recipe = Recipe(optimizer="muon", lr=7e-3, batch=128, weight_decay=0.05, warmup=0.1)
    guards = {"centering": "the balancing of the teacher's targets", "koleo": "the distance kept between neighbours"}
    head_count = 2
    without = ("center_momentum",)

    def __init__(self, encoder: Encoder, *, koleo: float = 0.1, **ibot):
        super().__init__(encoder, **ibot)
        self.koleo = koleo

    def assigner(self):
        return Balancing(self.centering)

    def loss(self, outputs):
        spread = torch.stack([koleo(features) for features in outputs.features[: self.augment.count]]).mean()
        return {**super().loss(outputs), "koleo": self.koleo * spread}


def koleo(features, floor=1e-4):
    """Minus the mean log distance of each normalised feature to its nearest neighbour (Sablayrolles et al. 2019, eq. 2).

    Distances below the floor count as the floor and have no gradient, so that duplicates stay finite.
    """
    z = F.normalize(features, dim=1, eps=1e-6)
    with torch.no_grad():
        nearest = (z @ z.T).fill_diagonal_(-2).argmax(1)
    return -(z - z[nearest]).square().sum(1).clamp(min=floor**2).log().mean() / 2
