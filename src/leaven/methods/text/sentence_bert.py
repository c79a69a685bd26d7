import torch
from torch import nn
from torch.nn import functional as F

from leaven.data.spec import DataSpec
from leaven.encoders import TextEncoder
from leaven.errors import UserError
from leaven.methods.method import Method, Outputs, Recipe
from leaven.modalities import Vector

PAIR, TRIPLET = ("a", "b"), ("anchor", "positive", "negative")


class SentenceBERT(Method):
    """One encoder reads both texts of a pair, or all three of a triplet, and learns what is said of them (Reimers and Gurevych 2019, section 3).

    What the data has decides: triplets (roles anchor, positive and negative) are told apart by distance; pairs (roles a and b) with a `score` get a
    cosine that rises with it; pairs with a label get a classifier of u, v and |u - v|.

    margin: by which the negative has to be farther than the positive. lowest, highest: the scores of texts that have nothing, and everything, in
    common.
    """

    paper = "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks (Reimers and Gurevych)"
    year = 2019
    modality = "text"
    loss_over_batch = False
    roles = PAIR
    recipe = Recipe(lr=3e-4, batch=64, weight_decay=0.01, warmup=0.1, clip=1.0)

    def __init__(self, encoder: TextEncoder, data: DataSpec, *, margin: float = 1.0, lowest: float = 0.0, highest: float = 5.0):
        super().__init__()
        if margin <= 0 or highest <= lowest:
            raise UserError("margin must be above 0, and highest above lowest")
        self.encoder, self.margin, self.lowest, self.highest = encoder, margin, lowest, highest
        self.names = tuple(role for role in self.inputs(data) if role != "score")
        self.scored = "score" in data.roles
        self.learns_labels = not self.scored and len(self.names) == 2
        if self.learns_labels and data.classes < 2:
            hint = "say which column tells it, with --columns a=...,b=...,score=... or --labels COLUMN"
            raise UserError("pairs need a score or a label", hint=hint)
        self.classifier = nn.Linear(3 * encoder.dim, data.classes) if self.learns_labels else nn.Identity()

    @classmethod
    def inputs(cls, data):
        if set(TRIPLET) <= set(data.roles):
            return dict.fromkeys(TRIPLET, "features")
        return dict.fromkeys(PAIR, "features")

    def views(self, batch, draw):
        told = {"label": batch.label}
        if self.scored:
            score = batch["score"]
            assert isinstance(score, Vector)
            told["score"] = score.numbers[:, 0]
        return {"texts": [batch[name] for name in self.names], **told}

    def forward(self, views):
        features = [self.encoder(text) for text in views["texts"]]
        return Outputs(features=features, **{name: views[name] for name in ("label", "score") if name in views})

    def loss(self, outputs):
        if len(self.names) == 3:
            anchor, positive, negative = outputs.features
            farther = F.pairwise_distance(anchor, positive) - F.pairwise_distance(anchor, negative)
            return {"triplet": F.relu(farther + self.margin).mean()}
        a, b = outputs.features
        if self.scored:
            wanted = (outputs.score.to(a) - self.lowest) / (self.highest - self.lowest)
            return {"squared_error": (F.cosine_similarity(a, b, eps=1e-6) - wanted).square().mean()}
        logits = self.classifier(torch.cat([a, b, (a - b).abs()], 1))
        known = outputs.label >= 0
        nats = F.cross_entropy(logits, outputs.label.clamp(min=0), reduction="none")
        return {"cross_entropy": (nats * known).mean()}
