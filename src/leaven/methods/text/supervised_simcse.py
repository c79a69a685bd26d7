import math

import torch
from torch import nn

from leaven.encoders import TextEncoder
from leaven.losses import info_nce
from leaven.methods import DataSpec, Method, Outputs, Positive, Recipe

PAIR, TRIPLET = ("anchor", "positive"), ("anchor", "positive", "negative")


class SupervisedSimCSE(Method):
    """A text agrees with its paraphrase, and disagrees with all others of the batch and with its contradiction (Gao et al. 2021, eq. 5).

    The roles are anchor, positive (the paraphrase) and negative (the contradiction), which may be missing. Copies of a text in one batch are no
    negatives of its anchor.

    temperature: of the softmax over the batch (above 0). head: width of the tanh layer after the encoder, which is only used in training (0: none).
    """

    paper = "SimCSE: Simple Contrastive Learning of Sentence Embeddings (Gao et al.)"
    year = 2021
    modality = "text"
    roles = PAIR
    purpose = ""
    recipe = Recipe(lr=5e-4, batch=128, weight_decay=0.01, warmup=0.1, clip=1.0)

    def __init__(self, encoder: TextEncoder, data: DataSpec, *, temperature: Positive = 0.05, head: int = 256):
        super().__init__(encoder)
        self.temperature, self.names = temperature, tuple(self.inputs(data))
        self.head = nn.Sequential(nn.Linear(encoder.dim, head), nn.Tanh()) if head else nn.Identity()

    @classmethod
    def inputs(cls, data):
        return dict.fromkeys(TRIPLET if "negative" in data.roles else PAIR, "features")

    def views(self, batch, draw):
        return [batch[name] for name in self.names]

    def forward(self, views):
        features = [self.encoder(text) for text in views]
        embeddings = [self.head(feature) for feature in features]
        return Outputs(features=features, embeddings=embeddings, same=[text.keys() for text in views[1:]])

    def loss(self, outputs):
        queries, *keys = outputs.embeddings
        return {"info_nce": info_nce(queries, torch.cat(keys), self.temperature, same=torch.cat(outputs.same))}

    def chance(self, outputs):
        return math.log(len(outputs.same) * len(outputs.same[0]))
