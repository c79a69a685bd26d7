import math
from functools import partial

import torch
from torch import nn

from leaven.encoders import TextEncoder
from leaven.errors import UserError
from leaven.losses import info_nce
from leaven.methods import DataSpec, Method, Outputs, Positive, Recipe, Stage


class SimCSE(Method):
    """A text encoded twice, with two dropout masks, agrees with itself, and all other texts of the batch disagree (Gao et al. 2021, eq. 4).

    Copies of a text in one batch are no negatives of each other.

    temperature: of the softmax over the batch (above 0). head: width of the tanh layer after the encoder, which is only used in training (0: none).
    two_masks: the two encodings differ in their dropout; with one mask the method only learns to distinguish texts. whiten: scale the features of the
    kept encoder so that they vary equally in all directions (Su et al. 2021), measured on some of the training texts; the paper's models learn this
    from more text.
    """

    paper = "SimCSE: Simple Contrastive Learning of Sentence Embeddings (Gao et al.)"
    year = 2021
    modality = "text"
    purpose = "plain"
    recipe = Recipe(lr=5e-4, batch=128, weight_decay=0.01, warmup=0.1, clip=1.0)
    encoder: TextEncoder

    def __init__(
        self, encoder: TextEncoder, data: DataSpec, *, temperature: Positive = 0.05, head: int = 256, two_masks: bool = True, whiten: bool = True
    ):
        super().__init__(encoder)
        if two_masks and not drops(encoder):
            raise UserError("without dropout both encodings of a text are the same", hint="give the encoder some: --set encoder.dropout=0.1")
        self.temperature, self.two_masks, self.whiten = temperature, two_masks, whiten
        self.samples = data.samples
        self.head = nn.Sequential(nn.Linear(encoder.dim, head), nn.Tanh()) if head else nn.Identity()

    def stages(self):
        yield Stage()
        if self.whiten:
            yield Stage("whitened", 0.0, partial(self.encoder.whiten, samples=self.samples))

    def views(self, batch, draw):
        (x,) = self.augment(batch["x"], draw)
        return {"x": x, "same": x.keys()}

    def forward(self, views):
        features = self.encode_twice(views["x"])
        return Outputs(features=features, embeddings=[self.head(feature) for feature in features], same=views["same"])

    def encode_twice(self, x):
        if self.two_masks:
            return self.encode([x, x])
        with torch.random.fork_rng():
            first = self.encoder(x)
        return [first, self.encoder(x)]

    def loss(self, outputs):
        first, second = outputs.embeddings
        return {"info_nce": info_nce(first, second, self.temperature, same=outputs.same)}

    def chance(self, outputs):
        return math.log(len(outputs.same))


def drops(encoder: nn.Module) -> bool:
    return any(isinstance(module, nn.Dropout) and module.p > 0 for module in encoder.modules())
