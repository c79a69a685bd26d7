import math

from leaven.errors import UserError
from leaven.hyperparameters import Depth
from leaven.methods import Count, NonNegative, Outputs, Positive, Recipe, Width
from leaven.methods.multimodal.clip import CLIP
from leaven.modalities import Tokens, modality_of
from leaven.modules.attention import AttentionPooling, LookingDecoder
from leaven.modules.text import VocabularyHead, chance_of, mean_nats


class CoCa(CLIP):
    """Pictures and texts identify each other as in CLIP, and each text is written, token by token, by a decoder that looks at its picture (Yu et al.
    2022, eq. 4).

    The text's encoder is the lower half of that decoder: each token sees those before it and no picture, so that the end token, which sees the whole
    text, stands for it. The upper half sees the picture as well, pooled into a few vectors. The vector of a picture that texts are compared with is
    the feature of its encoder, where the paper pools once more. Any input that comes with texts is described as pictures are.

    dim: length of the vectors that are compared. scale: the inverse of the softmax's temperature at the start (above 0); it is learned, and stays
    between 1 and 100. caption: weight of the nats per token. depth: layers of the upper half. queries: vectors into which a picture is pooled for it.
    heads: of its attention. locked: the inputs whose encoders do not learn, as in image or image,text; empty where
    both do.
    """

    paper = "CoCa: Contrastive Captioners are Image-Text Foundation Models (Yu et al.)"
    year = 2022
    recipe = Recipe(optimizer="muon", lr=2e-2, batch=256, weight_decay=0.05)

    def __init__(
        self,
        encoders,
        *,
        dim: Width = 128,
        scale: Positive = 1 / 0.07,
        caption: NonNegative = 2.0,
        depth: Depth = 2,
        queries: Count = 16,
        heads: Width = 4,
        locked: str = "",
    ):
        super().__init__(encoders, dim=dim, scale=scale, locked=locked)
        self.written = [role for role, encoder in encoders.items() if encoder.modality.tokenized][-1]
        (self.shown,) = (role for role in encoders if role != self.written)
        writer, reader = self.senses[self.written], self.senses[self.shown]
        if writer.dim % heads:
            raise UserError(f"a width of {writer.dim} does not divide into {heads} heads", where="heads")
        writer.pool_by("last")
        self.caption = caption
        self.pooling = AttentionPooling(reader.dim, writer.dim, queries, heads)
        self.decoder = LookingDecoder(writer.dim, depth, heads)
        self.head = VocabularyHead(writer, plain=True)

    @classmethod
    def inputs(cls, data):
        reads = super().inputs(data)
        texts = [role for role in reads if modality_of(data.inputs[role]).tokenized]
        if not texts:
            hint = "name the column that holds them, as in --columns image=COLUMN,text=COLUMN"
            raise UserError(f"{cls.name} writes texts about its other input, and neither {' nor '.join(reads)} is text", hint=hint)
        return reads | {texts[-1]: "causal_tokens"}

    def views(self, batch, draw):
        views = super().views(batch, draw)
        views["views"][self.written] = side_by_side(views["views"][self.written])
        return views

    def forward(self, views):
        text = views["views"][self.written]
        read, tokens, _ = self.senses[self.written].token_features(text)
        seen = self.senses[self.shown].with_places(views["views"][self.shown])
        features = {self.shown: seen.features, self.written: read}
        states = self.decoder(tokens[:, :-1], self.pooling(seen.places, seen.real))
        nats = self.head(states, text.ids[:, 1:], text.mask[:, 1:])
        return Outputs(embeddings=self.embedded({role: features[role] for role in self.senses}), same=views["same"], **nats)

    def loss(self, outputs):
        return {**super().loss(outputs), "caption": self.caption * mean_nats(outputs)}

    def chance(self, outputs):
        return super().chance(outputs) + self.caption * chance_of(self.senses[self.written])

    def measures(self, outputs):
        return {**super().measures(outputs), "perplexity": math.exp(mean_nats(outputs).item())}

    def directions(self):
        return ((self.shown, self.written),)

    def generate(self, value, source, target, decoding, draw):
        writer, seen = self.senses[self.written], self.senses[self.shown].with_places(value)
        pooled = self.pooling(seen.places, seen.real).repeat_interleave(decoding.beams, 0)

        def logits(begun):
            return self.head.logits(self.decoder(writer.token_features(begun).tokens, pooled)[:, -1])

        return decoding.write(logits, len(value), writer.input, pooled.device, draw)


def side_by_side(text):
    """The same tokens without gaps between them: a view may have deleted some."""
    order = (~text.mask).long().argsort(dim=1, stable=True)
    return Tokens(text.ids.gather(1, order), text.mask.gather(1, order))
