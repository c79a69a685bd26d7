from torch.nn import functional as F

from leaven.methods import Encoder, Method, Outputs, Recipe, Rule
from leaven.modules import mlp


class SimSiam(Method):
    """Predict one view's embedding from the other's, without negatives and without a teacher (Chen and He 2021, eq. 4).

    projector: widths of the layers after the encoder; the last ends in batch norm without scale. predictor: width of the bottleneck (usually a
    quarter of the embedding). stop_gradient: targets carry no gradient, which prevents a collapse.
    """

    paper = "Exploring Simple Siamese Representation Learning (Chen and He)"
    year = 2021
    recipe = Recipe(optimizer="muon", lr=6e-2, batch=256, weight_decay=0.05)
    rules = {"predictor": Rule(constant=True)}
    guards = {"stop_gradient": "targets that carry no gradient"}
    loss_over_batch = False

    def __init__(self, encoder: Encoder, *, projector: tuple[int, ...] = (512, 512, 512), predictor: int = 128, stop_gradient: bool = True):
        super().__init__(encoder)
        self.stop_gradient = stop_gradient
        self.projector = mlp(encoder.dim, *projector, last_norm=True, last_affine=False)
        self.predictor = mlp(projector[-1], predictor, projector[-1])

    def forward(self, views):
        features = self.encode(views)
        embeddings = [self.projector(feature) for feature in features]
        return Outputs(features=features, embeddings=embeddings, predictions=[self.predictor(embedding) for embedding in embeddings])

    def loss(self, outputs):
        p1, p2 = outputs.predictions
        z1, z2 = (z.detach() for z in outputs.embeddings) if self.stop_gradient else outputs.embeddings
        return {"similarity": (negative_cosine(p1, z2) + negative_cosine(p2, z1)) / 2}


def negative_cosine(prediction, target):
    """Mean over samples of -cos (eq. 1): -1 when parallel, 0 when unrelated."""
    return -F.cosine_similarity(prediction, target, dim=1, eps=1e-6).mean()
