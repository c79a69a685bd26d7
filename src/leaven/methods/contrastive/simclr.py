import math

from leaven.losses import nt_xent
from leaven.methods import Encoder, Method, Outputs, Positive, Recipe
from leaven.modules import mlp


class SimCLR(Method):
    """Two views of one sample agree, all others in the batch disagree (Chen et al. 2020, eq. 1).

    temperature: of the softmax over the batch (above 0). projector: widths of the layers after the encoder, which are discarded in the end.
    """

    paper = "A Simple Framework for Contrastive Learning of Visual Representations (Chen et al.)"
    year = 2020
    recipe = Recipe(optimizer="muon", lr=2e-2, batch=256, weight_decay=0.05)

    def __init__(self, encoder: Encoder, *, temperature: Positive = 0.2, projector: tuple[int, ...] = (512, 128)):
        super().__init__(encoder)
        self.temperature = temperature
        self.projector = mlp(encoder.dim, *projector, last_norm=True)

    def forward(self, views):
        features = self.encode(views)
        return Outputs(features=features, embeddings=[self.projector(feature) for feature in features])

    def loss(self, outputs):
        return {"nt_xent": nt_xent(*outputs.embeddings, self.temperature)}

    def chance(self, outputs):
        return math.log(2 * len(outputs.embeddings[0]) - 1)
