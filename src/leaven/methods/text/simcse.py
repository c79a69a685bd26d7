import math
from functools import partial

import torch
from torch import nn

from leaven.data.spec import DataSpec
from leaven.encoders import TextEncoder
from leaven.errors import UserError
from leaven.losses import info_nce
from leaven.methods.method import Method, Outputs, Recipe, Stage
from leaven.views import Views


class SimCSE(Method):
    """A text that is read twice, with two dropout masks, agrees with itself, and all other texts of the batch disagree (Gao et al. 2021, eq. 4).

    Texts that stand in a batch more than once are no negatives of each other.

    temperature: of the softmax over the batch (above 0). head: width of the tanh layer behind the encoder, which is used in training alone (0: none).
    two_masks: whether the two readings differ; with one mask there is nothing to learn but to tell texts apart. whiten: whether the features of what
    is kept vary alike in all directions (Su et al. 2021), as far as some of the training texts tell: the paper's models learn that from more text.
    """

    paper = "SimCSE: Simple Contrastive Learning of Sentence Embeddings (Gao et al.)"
    year = 2021
    modality = "text"
    purpose = "plain"
    recipe = Recipe(lr=5e-4, batch=128, weight_decay=0.01, warmup=0.1, clip=1.0)
    encoder: TextEncoder

    def __init__(
        self,
        encoder: TextEncoder,
        data: DataSpec,
        *,
        temperature: float = 0.05,
        head: int = 256,
        two_masks: bool = True,
        whiten: bool = True,
        views: Views | None = None,
    ):
        super().__init__(encoder, views)
        if temperature <= 0:
            raise UserError(f"temperature must be above 0, not {temperature}")
        if two_masks and not drops(encoder):
            raise UserError("without dropout both readings of a text are the same", hint="give the encoder some: --set encoder.dropout=0.1")
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
        features = self.read_twice(views["x"])
        return Outputs(features=features, embeddings=[self.head(feature) for feature in features], same=views["same"])

    def read_twice(self, x):
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
