import itertools
import math

from torch import nn

from leaven.errors import UserError
from leaven.losses import info_nce
from leaven.methods import Encoder, Method, Outputs, Positive, Recipe
from leaven.modalities import modality_of

CHANNEL_GROUPS = "channel_groups"  # what an encoder offers that reads lightness and colours separately


class CMC(Method):
    """Each sense of a sample identifies it, among all samples of the batch, from each other sense (Tian et al. 2020, eq. 2 and 8).

    Where samples have several inputs, each input is a sense with its own encoder. Of pictures alone, the senses are lightness and colours. The
    negatives are the other samples of the batch; the paper keeps a memory bank.

    temperature: of the softmax over the batch (above 0). dim: length of an embedding.
    """

    paper = "Contrastive Multiview Coding (Tian et al.)"
    year = 2020
    recipe = Recipe(optimizer="muon", lr=2e-2, batch=256, weight_decay=0.05)
    purpose = "reconstruction"

    @classmethod
    def inputs(cls, data):
        if len(data.inputs) != 1:
            return dict.fromkeys(data.inputs, "features")
        ((role, spec),) = data.inputs.items()
        if spec.shape[:1] != (3,) or not any(default.wants == CHANNEL_GROUPS for default in modality_of(spec).encoders):
            raise UserError(
                "cmc contrasts several inputs of a sample, or the lightness and the colours of pictures, and this data has neither",
                hint="name several columns with --columns, or see `leaven methods`",
            )
        return {role: CHANNEL_GROUPS}

    def __init__(self, encoders: dict[str, Encoder], *, temperature: Positive = 0.1, dim: int = 128):
        alone = next(iter(encoders.values())) if len(encoders) == 1 else None
        super().__init__(alone)
        self.alone, self.temperature = alone is not None, temperature
        if not alone:
            self.senses = nn.ModuleDict(encoders)
        widths = alone.group_dims if alone else [encoder.dim for encoder in encoders.values()]
        self.projectors = nn.ModuleList(nn.Linear(width, dim) for width in widths)

    def views(self, batch, draw):
        return super().views(batch, draw) if self.alone else [batch[role] for role in self.senses]

    def forward(self, views):
        if self.alone:
            features = self.encoder.channel_groups(views[0])
        else:
            features = [encoder(view) for encoder, view in zip(self.senses.values(), views, strict=True)]
        return Outputs(embeddings=[projector(feature) for projector, feature in zip(self.projectors, features, strict=True)])

    def loss(self, outputs):
        pairs = itertools.permutations(outputs.embeddings, 2)
        return {"info_nce": sum(info_nce(a, b, self.temperature) for a, b in pairs)}

    def chance(self, outputs):
        senses = len(outputs.embeddings)
        return senses * (senses - 1) * math.log(len(outputs.embeddings[0]))

    def encoders(self):
        return super().encoders() if self.alone else dict(self.senses)

    @property
    def shared_scale(self):
        return 1 / self.temperature

    def shared_space(self):
        return {} if self.alone else dict(zip(self.senses, self.projectors, strict=True))
