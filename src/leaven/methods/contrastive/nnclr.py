import math

from leaven.losses import info_nce
from leaven.methods import Count, Encoder, Method, Outputs, Positive, Recipe
from leaven.modules import mlp
from leaven.modules.memory import Queue


class NNCLR(Method):
    """A view agrees with the nearest neighbour of the other view among earlier embeddings (Dwibedi et al. 2021, eq. 3).

    temperature: of the softmax over the batch (above 0). queue: number of earlier embeddings among which neighbours are searched (1 or more; a few
    times the batch, and not much more than the number of samples). projector: widths of the layers after the encoder. predictor: widths of the layers
    after the projector.
    """

    paper = "With a Little Help from My Friends: Nearest-Neighbor Contrastive Learning of Visual Representations (Dwibedi et al.)"
    year = 2021
    recipe = Recipe(optimizer="muon", lr=6e-2, batch=256, weight_decay=0.05)

    def __init__(
        self,
        encoder: Encoder,
        *,
        temperature: Positive = 0.1,
        queue: Count = 4096,
        projector: tuple[int, ...] = (512, 512, 128),
        predictor: tuple[int, ...] = (512, 128),
    ):
        super().__init__(encoder)
        self.temperature = temperature
        self.projector = mlp(encoder.dim, *projector, last_norm=True)
        self.predictor = mlp(projector[-1], *predictor)
        self.queue = Queue(queue, projector[-1])

    def forward(self, views):
        features = self.encode(views)
        embeddings = [self.projector(feature) for feature in features]
        predictions = [self.predictor(embedding) for embedding in embeddings]
        neighbours = [self.queue.nearest(embedding) for embedding in embeddings]
        return Outputs(features=features, embeddings=embeddings, predictions=predictions, neighbours=neighbours)

    def loss(self, outputs):
        (n1, n2), (p1, p2) = outputs.neighbours, outputs.predictions
        return {"info_nce": (info_nce(n1, p2, self.temperature) + info_nce(n2, p1, self.temperature)) / 2}

    def chance(self, outputs):
        return math.log(len(outputs.predictions[0]))

    def after_step(self, outputs, progress):
        super().after_step(outputs, progress)
        self.queue.enqueue(outputs.embeddings[0])
