import torch
from torch import nn
from torch.nn import functional as F

from leaven.encoders import TextEncoder
from leaven.errors import UserError
from leaven.methods import DataSpec, Method, Outputs, Positive, Recipe
from leaven.modalities import modality_of

PAIR, TRIPLET = ("a", "b"), ("anchor", "positive", "negative")


class SentenceBERT(Method):
    """One encoder reads both texts of a pair, or all three of a triplet, and learns how they relate (Reimers and Gurevych 2019, section 3).

    The data decides how: in triplets (roles anchor, positive and negative) the positive comes nearer than the negative; in pairs (roles a and b) with
    a `score`, the cosine follows the score; pairs with a label get a classifier of u, v and |u - v|.

    margin: by which the negative has to be farther than the positive. lowest, highest: the scores of texts that have nothing, and everything, in
    common (none: 1 or 5, whichever holds the scores to train on, else the largest of them).
    """

    paper = "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks (Reimers and Gurevych)"
    year = 2019
    modality = "text"
    loss_over_batch = False
    roles = PAIR
    purpose = ""
    recipe = Recipe(lr=3e-4, batch=64, weight_decay=0.01, warmup=0.1, clip=1.0)

    def __init__(self, encoder: TextEncoder, data: DataSpec, *, margin: Positive = 1.0, lowest: float = 0.0, highest: float | None = None):
        super().__init__(encoder)
        if highest is None:
            largest = (data.roles["score"].range if "score" in data.roles else None) or (0.0, 5.0)
            highest = next((usual for usual in (1.0, 5.0) if largest[1] <= usual), largest[1])
        if highest <= lowest:
            raise UserError(f"highest must be above lowest, not {highest} and {lowest}")
        self.margin, self.lowest, self.highest = margin, lowest, highest
        self.names = tuple(self.inputs(data))
        self.scored = "score" in data.roles
        self.learns_labels = not self.scored and len(self.names) == 2
        self.classifier = nn.Linear(3 * encoder.dim, data.classes) if self.learns_labels else nn.Identity()

    @classmethod
    def inputs(cls, data):
        if set(TRIPLET) <= set(data.roles):
            return dict.fromkeys(TRIPLET, "features")
        if set(PAIR) <= set(data.roles) and "score" not in data.roles and data.classes < 2:
            raise UserError("pairs need a score or a label", hint="name its column, with --columns a=...,b=...,score=... or --labels COLUMN")
        return dict.fromkeys(PAIR, "features")

    def views(self, batch, draw):
        views = {"texts": [batch[name] for name in self.names], "label": batch.label}
        if self.scored:
            views["score"] = modality_of(batch["score"]).numbers(batch["score"])[:, 0]
        return views

    def forward(self, views):
        features = [self.encoder(text) for text in views["texts"]]
        return Outputs(features=features, **{name: tensor for name, tensor in views.items() if name != "texts"})

    def loss(self, outputs):
        if len(self.names) == 3:
            anchor, positive, negative = outputs.features
            farther = F.pairwise_distance(anchor, positive) - F.pairwise_distance(anchor, negative)
            return {"triplet": F.relu(farther + self.margin).mean()}
        a, b = outputs.features
        if self.scored:
            target = (outputs.score.to(a) - self.lowest) / (self.highest - self.lowest)
            return {"squared_error": (F.cosine_similarity(a, b, eps=1e-6) - target).square().mean()}
        logits = self.classifier(torch.cat([a, b, (a - b).abs()], 1))
        nats = F.cross_entropy(logits, outputs.label.clamp(min=0), reduction="none")
        return {"cross_entropy": (nats * (outputs.label >= 0)).mean()}
