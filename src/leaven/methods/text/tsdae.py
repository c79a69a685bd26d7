import torch

from leaven.encoders import TextEncoder
from leaven.methods import Method, Outputs, Recipe, ShareBelowOne
from leaven.modalities import Tokens
from leaven.modules.text import TextDecoder, chance_of, mean_nats


class TSDAE(Method):
    """Rebuild a text from a single vector, which encodes the text after tokens were deleted (Wang et al. 2021, section 3).

    The paper's decoder attends to that one vector. Attention to a single place adds it at every place, which is done here.

    deleted: share of a text's tokens that the encoder does not read (from 0 to below 1). depth: layers of the decoder, which is discarded in the end.
    """

    paper = "TSDAE: Using Transformer-based Sequential Denoising Auto-Encoder for Unsupervised Sentence Embedding Learning (Wang et al.)"
    year = 2021
    modality = "text"
    wants = "tokens"
    purpose = "plain"
    recipe = Recipe(lr=5e-4, batch=128, weight_decay=0.01, warmup=0.1, clip=1.0)

    def __init__(self, encoder: TextEncoder, *, deleted: ShareBelowOne = 0.6, depth: int = 2):
        super().__init__(encoder)
        self.deleted = deleted
        self.decoder = TextDecoder(encoder, encoder.dim, depth=depth)

    def views(self, batch, draw):
        (x,) = self.augment(batch["x"], draw)
        deleted = draw.uniform(len(x), self.encoder.input.shape[0])[:, : x.ids.shape[1]].to(x.ids.device) < self.deleted
        special = torch.isin(x.ids, torch.tensor(list(self.encoder.input.special.values()), device=x.ids.device))
        kept = x.mask & (special | ~deleted)
        return {"x": Tokens(x.ids, kept), "text": x}

    def forward(self, views):
        features = self.encoder(views["x"])
        return Outputs(features=features, **self.decoder(features, views["text"]))

    def loss(self, outputs):
        return {"cross_entropy": mean_nats(outputs)}

    def chance(self, outputs):
        return chance_of(self.encoder)

    def decode(self, codes):
        return self.decoder.write(codes)
