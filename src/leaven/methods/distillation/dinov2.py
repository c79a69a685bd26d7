import torch
from torch.nn import functional as F

from leaven.encoders import Encoder
from leaven.methods.distillation.ibot import IBOT
from leaven.methods.method import Recipe
from leaven.modules.heads import Balancing
from leaven.views import Views


class DINOv2(IBOT):
    """iBOT with a separate head for patches, targets balanced by Sinkhorn, and features that spread out (Oquab et al. 2023, section 4).

    prototypes: how many there are for pictures, and again for patches. head: widths of the layers before them. head_norm: batch norm between those
    layers. student_temperature: of the student's softmax. teacher_temperature: of the teacher's softmax, at first and after temperature_warmup.
    temperature_warmup: share of the training (0-1) in which it rises. momentum: of the teacher, rising to 1. frozen: share of the training (0-1) in
    which the prototypes do not change. mask_ratio: share of the patches of a large crop that are hidden (0-1). patch_weight: weight of the loss of
    hidden patches relative to that of crops. koleo: weight of the term that keeps each feature away from its nearest neighbour in the batch.
    centering: balance the targets, so that no prototype takes all samples.
    """

    paper = "DINOv2: Learning Robust Visual Features without Supervision (Oquab et al.)"
    year = 2023
    recipe = Recipe(optimizer="muon", lr=7e-3, batch=128, weight_decay=0.05, warmup=0.1)
    guards = {"centering": "the balancing of the teacher's targets", "koleo": "the distance kept between neighbours"}
    head_count = 2

    def __init__(
        self,
        encoder: Encoder,
        *,
        prototypes: int = 256,
        head: tuple[int, ...] = (256, 64),
        head_norm: bool = True,
        student_temperature: float = 0.1,
        teacher_temperature: tuple[float, float] = (0.02, 0.04),
        temperature_warmup: float = 0.3,
        momentum: float = 0.99,
        frozen: float = 0.02,
        mask_ratio: float = 0.3,
        patch_weight: float = 1.0,
        koleo: float = 0.1,
        centering: bool = True,
        views: Views | None = None,
    ):
        super().__init__(
            encoder, prototypes=prototypes, head=head, head_norm=head_norm, student_temperature=student_temperature,
            teacher_temperature=teacher_temperature, temperature_warmup=temperature_warmup, momentum=momentum, frozen=frozen,
            mask_ratio=mask_ratio, patch_weight=patch_weight, centering=centering, views=views,
        )  # fmt: skip
        self.koleo = koleo

    def assigner(self, center_momentum, centering):
        return Balancing(centering)

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
