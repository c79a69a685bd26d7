from torch.nn import functional as F

from leaven.methods import Encoder, Method, Outputs, Recipe
from leaven.modules import Teacher, mlp


class BYOL(Method):
    """Predict a slowly moving copy's embedding of the other view (Grill et al. 2020, eq. 2).

    projector: widths of the layers after the encoder. predictor: widths of the layers after the projector (none: no predictor). momentum: of the
    teacher, rising to 1. stop_gradient: targets come from the teacher and carry no gradient; otherwise they are the embeddings themselves.
    """

    paper = "Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning (Grill et al.)"
    year = 2020
    recipe = Recipe(optimizer="muon", lr=2e-2, batch=256, weight_decay=0.05)
    purpose = "byol"
    guards = {"stop_gradient": "targets that carry no gradient", "predictor": "the predictor"}
    loss_over_batch = False

    def __init__(
        self,
        encoder: Encoder,
        *,
        projector: tuple[int, ...] = (512, 128),
        predictor: tuple[int, ...] = (512, 128),
        momentum: float = 0.99,
        stop_gradient: bool = True,
    ):
        super().__init__(encoder)
        self.stop_gradient = stop_gradient
        self.projector = mlp(encoder.dim, *projector)
        self.predictor = mlp(projector[-1], *predictor) if predictor else None
        self.teacher = Teacher(self.encoder, self.projector, momentum=momentum)

    def forward(self, views):
        features = self.encode(views)
        embeddings = [self.projector(feature) for feature in features]
        targets = self.encode(views, self.teacher) if self.stop_gradient else embeddings
        predictions = [self.predictor(embedding) for embedding in embeddings] if self.predictor else embeddings
        return Outputs(features=features, embeddings=embeddings, predictions=predictions, targets=targets)

    def loss(self, outputs):
        (p1, p2), (z1, z2) = outputs.predictions, outputs.targets
        return {"prediction": distance(p1, z2) + distance(p2, z1)}

    def chance(self, outputs):
        return 4.0


def distance(prediction, target):
    """Mean over samples of 2 - 2 cos (0 when parallel, 2 when unrelated, 4 when opposed)."""
    return 2 - 2 * F.cosine_similarity(prediction, target, dim=1, eps=1e-6).mean()
