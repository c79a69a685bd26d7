from functools import partial

from leaven.encoders import TextEncoder
from leaven.errors import UserError
from leaven.methods import DataSpec, Method, NonNegative, Outputs, PartialShare, Recipe, Stage
from leaven.modules.text import VocabularyHead, chance_of, hidden_tokens, mean_nats


class MaskedLM(Method):
    """Predict hidden tokens from those around them (Devlin et al. 2019, section 3.1). Every step hides other tokens.

    mask_ratio: share of a text's tokens that are to be predicted (above 0, below 1). masked, swapped: shares of these that are replaced by the mask
    token, and by a random one; the rest stays. whiten: scale the features of the kept encoder so that they vary equally in all directions (Su et al.
    2021), measured on some of the training texts; otherwise a few directions that all texts share outweigh the others.
    """

    paper = "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding (Devlin et al.)"
    year = 2019
    modality = "text"
    wants = "tokens"
    purpose = "plain"
    shapes_features = False
    recipe = Recipe(lr=1e-3, batch=128, weight_decay=0.01, warmup=0.1, clip=1.0)
    encoder: TextEncoder

    def __init__(
        self,
        encoder: TextEncoder,
        data: DataSpec,
        *,
        mask_ratio: PartialShare = 0.15,
        masked: NonNegative = 0.8,
        swapped: NonNegative = 0.1,
        whiten: bool = True,
    ):
        super().__init__(encoder)
        if masked + swapped > 1:
            raise UserError(f"masked and swapped must be shares of the hidden tokens, with a sum of at most 1, not {masked} and {swapped}")
        if "mask" not in encoder.input.special:
            raise UserError("this tokeniser has no mask token", hint="choose another --encoder, or leave it out")
        self.mask_ratio, self.masked, self.swapped, self.whiten = mask_ratio, masked, swapped, whiten
        self.samples = data.samples
        self.head = VocabularyHead(encoder)

    def stages(self):
        yield Stage()
        if self.whiten:
            yield Stage("whitened", 0.0, partial(self.encoder.whiten, samples=self.samples))

    def views(self, batch, draw):
        (x,) = self.augment(batch["x"], draw)
        return hidden_tokens(self.encoder.input, x, draw.child("hidden"), self.mask_ratio, self.masked, self.swapped)

    def forward(self, views):
        features, tokens, _ = self.encoder.token_features(views["shown"])
        return Outputs(features=features, **self.head(tokens, views["ids"], views["hidden"]))

    def loss(self, outputs):
        return {"cross_entropy": mean_nats(outputs)}

    def chance(self, outputs):
        return chance_of(self.encoder)

    def measures(self, outputs):
        return {"token_accuracy": (outputs.right.sum() / outputs.count.sum().clamp(min=1)).item()}
