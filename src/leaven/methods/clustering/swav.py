import math

import torch
from torch import nn

from leaven.losses import across_crops
from leaven.methods import Encoder, Method, Outputs, Positive, Recipe
from leaven.modules import mlp
from leaven.modules.heads import Prototypes, sinkhorn
from leaven.modules.memory import Queue


class SwAV(Method):
    """From one crop, predict the prototypes of the other crops, where all prototypes are used equally often (Caron et al. 2020, eq. 1 to 5).

    projector: widths of the layers after the encoder. prototypes: how many there are. temperature: of the predictions' softmax. epsilon: of the
    assignments; a smaller one makes them harder. iterations: of Sinkhorn. queue: number of earlier embeddings of each large crop that are assigned
    together with the batch (0: none). queue_starts: share of the training (0-1) before they are used. frozen: share of the training (0-1) in which
    the prototypes do not change. sinkhorn: use all prototypes equally often, which keeps one from taking all samples (otherwise a plain softmax).
    """

    paper = "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments (Caron et al.)"
    year = 2020
    recipe = Recipe(optimizer="muon", lr=2e-2, batch=256, weight_decay=0.05)
    purpose = "multicrop"
    guards = {"sinkhorn": "the equal use of all prototypes"}

    def __init__(
        self,
        encoder: Encoder,
        *,
        projector: tuple[int, ...] = (512, 128),
        prototypes: int = 512,
        temperature: Positive = 0.1,
        epsilon: Positive = 0.05,
        iterations: int = 3,
        queue: int = 1024,
        queue_starts: float = 0.2,
        frozen: float = 0.02,
        sinkhorn: bool = True,
    ):
        super().__init__(encoder)
        self.temperature, self.epsilon, self.iterations, self.sinkhorn = temperature, epsilon, iterations, sinkhorn
        self.queue_starts, self.frozen = queue_starts, frozen
        self.projector = mlp(encoder.dim, *projector)
        self.prototypes = Prototypes(projector[-1], prototypes)
        self.queues = nn.ModuleList(Queue(queue, projector[-1]) for _ in range(self.augment.count if queue else 0))
        self.register_buffer("progress", torch.zeros(()))

    def forward(self, views):
        features = self.encode(views)
        embeddings = self.projector(torch.cat(features))
        logits = self.prototypes(embeddings, frozen=bool(self.progress < self.frozen)) / self.temperature
        return Outputs(features=features, embeddings=list(embeddings.chunk(len(views))), assignments=list(logits.chunk(len(views))))

    def loss(self, outputs):
        large = [crop.detach() * self.temperature for crop in outputs.assignments[: self.augment.count]]
        return {"swapped": across_crops(outputs.assignments, [self.assign(scores, crop) for crop, scores in enumerate(large)])}

    @torch.no_grad()
    def assign(self, scores, crop):
        """(B, prototypes) probabilities from the scores of one large crop, balanced together with those of its queue."""
        if not self.sinkhorn:
            return (scores / self.epsilon).softmax(1)
        batch = len(scores)
        if self.queues and self.progress >= self.queue_starts:
            scores = torch.cat([scores, self.prototypes(self.queues[crop].embeddings)])
        return sinkhorn(scores, self.epsilon, self.iterations)[:batch]

    def after_step(self, outputs, progress):
        super().after_step(outputs, progress)
        for queue, embeddings in zip(self.queues, outputs.embeddings, strict=False):
            queue.enqueue(embeddings)
        self.progress.fill_(progress)

    def chance(self, outputs):
        return math.log(outputs.assignments[0].shape[1])
