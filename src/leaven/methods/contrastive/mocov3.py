import math

from leaven.losses import info_nce
from leaven.methods import Encoder, Method, Outputs, Positive, Recipe, Share
from leaven.modules import Teacher, mlp

PATCH_PROJECTIONS = ("embed.", "network.patch_embed.")


class MoCoV3(Method):
    """Identify a sample's own key, made by a slowly moving copy of the encoder, among the keys of the batch (Chen et al. 2021, algorithm 1).

    temperature: of the softmax over keys (above 0). momentum: share of the copy that stays at the first step; it rises to 1 (0-1). projector: widths
    of the layers after the encoder. predictor: widths of the layers after the projector, for queries only. frozen_patches: a transformer's projection
    of patches keeps its random start (section 4.2).
    """

    paper = "An Empirical Study of Training Self-Supervised Vision Transformers (Chen et al.)"
    year = 2021
    recipe = Recipe(optimizer="muon", lr=2e-2, batch=256, weight_decay=0.05)
    purpose = "byol"

    def __init__(
        self,
        encoder: Encoder,
        *,
        temperature: Positive = 0.2,
        momentum: Share = 0.99,
        projector: tuple[int, ...] = (512, 128),
        predictor: tuple[int, ...] = (512, 128),
        frozen_patches: bool = True,
    ):
        super().__init__(encoder)
        self.temperature = temperature
        if frozen_patches:
            for name, parameter in encoder.named_parameters():
                parameter.requires_grad_(not name.startswith(PATCH_PROJECTIONS))
        self.projector = mlp(encoder.dim, *projector, last_norm=True, last_affine=False)
        self.predictor = mlp(projector[-1], *predictor, last_norm=True, last_affine=False)
        self.teacher = Teacher(self.encoder, self.projector, momentum=momentum)

    def forward(self, views):
        features = self.encode(views)
        queries = [self.predictor(self.projector(feature)) for feature in features]
        return Outputs(features=features, embeddings=queries, targets=self.encode(views, self.teacher))

    def loss(self, outputs):
        (q1, q2), (k1, k2) = outputs.embeddings, outputs.targets
        return {"info_nce": 2 * self.temperature * (info_nce(q1, k2, self.temperature) + info_nce(q2, k1, self.temperature))}

    def chance(self, outputs):
        return 4 * self.temperature * math.log(len(outputs.targets[0]))
