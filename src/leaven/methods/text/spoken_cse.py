import math

from leaven.encoders import TextEncoder
from leaven.losses import nt_xent
from leaven.methods import Method, NonNegative, Outputs, PartialShare, Positive, Recipe
from leaven.modules.text import VocabularyHead, hidden_tokens, mean_nats

PAIR = ("anchor", "positive")


class SpokenCSE(Method):
    """A text and its transcript by a recogniser agree, all others of the batch disagree (Chang and Chen 2022, eq. 1), and hidden tokens are predicted
    (eq. 2).

    The anchor is the true text, the positive is the transcript; tokens of both are hidden. The contrast is between the vectors of the last layer. The
    paper's second stage, supervised contrast and self-distillation while labels are learned, is `leaven finetune RUN DATA --set contrast=0.1 --set
    distillation=10`.

    temperature: of the softmax over the batch (above 0). masked_weight: of the nats per hidden token (0: none is hidden). mask_ratio: share of a
    text's tokens that are hidden.
    """

    paper = "Contrastive Learning for Improving ASR Robustness in Spoken Language Understanding (Chang and Chen)"
    year = 2022
    modality = "text"
    wants = "tokens"
    purpose = "plain"
    roles = PAIR
    recipe = Recipe(lr=5e-4, batch=128, weight_decay=0.01, warmup=0.1, clip=1.0)

    def __init__(self, encoder: TextEncoder, *, temperature: Positive = 0.2, masked_weight: NonNegative = 1.0, mask_ratio: PartialShare = 0.15):
        super().__init__(encoder)
        self.temperature, self.masked_weight, self.mask_ratio = temperature, masked_weight, mask_ratio
        self.head = VocabularyHead(encoder)

    def views(self, batch, draw):
        texts = [self.augment(batch[role], draw.child(role))[0] for role in PAIR]
        hidden = [
            hidden_tokens(self.encoder.input, text, draw.child("hidden", role), self.mask_ratio) for role, text in zip(PAIR, texts, strict=True)
        ]
        return {"texts": texts, "hidden": hidden if self.masked_weight else []}

    def forward(self, views):
        features = [self.encoder(text) for text in views["texts"]]
        parts = [self.head(self.encoder.tokens(part["shown"]), part["ids"], part["hidden"]) for part in views["hidden"]]
        return Outputs(features=features, **{name: sum(part[name] for part in parts) for name in ("nats", "count", "right") if parts})

    def loss(self, outputs):
        terms = {"nt_xent": nt_xent(*outputs.features, self.temperature)}
        if self.masked_weight:
            terms["cross_entropy"] = self.masked_weight * mean_nats(outputs)
        return terms

    def chance(self, outputs):
        return math.log(2 * len(outputs.features[0]) - 1) + self.masked_weight * math.log(self.encoder.input.vocabulary)
