import torch

from leaven.errors import UserError
from leaven.losses import weighted_contrast
from leaven.methods import DataSpec, Encoder, Method, Outputs, Positive, Recipe
from leaven.modules import mlp


class SupCon(Method):
    """Views of one class agree, all others in the batch disagree (Khosla et al. 2020, eq. 2, L_out).

    A sample without a label is its own class, as in SimCLR.

    temperature: of the softmax over the batch (above 0). projector: widths of the layers after the encoder.
    """

    paper = "Supervised Contrastive Learning (Khosla et al.)"
    year = 2020
    recipe = Recipe(optimizer="muon", lr=6e-2, batch=256, weight_decay=0.05)
    learns_labels = True

    def __init__(self, encoder: Encoder, data: DataSpec, *, temperature: Positive = 0.1, projector: tuple[int, ...] = (512, 128)):
        super().__init__(encoder)
        if not data.classes:
            raise UserError("supervised contrast needs labels, and no sample has one", hint="give them with --labels, or use simclr")
        self.temperature = temperature
        self.projector = mlp(encoder.dim, *projector, last_norm=True)

    def views(self, batch, draw):
        return {"x": super().views(batch, draw), "label": batch.label}

    def forward(self, views):
        features = self.encode(views["x"])
        return Outputs(features=features, embeddings=[self.projector(feature) for feature in features], label=views["label"])

    def loss(self, outputs):
        return {"sup_con": sup_con(*outputs.embeddings, outputs.label, self.temperature)}


def sup_con(a, b, label, temperature):
    """The mean over the 2B views, and over the positives p of each, of -log exp(sim(i, p) / t) / sum over k != i of exp(sim(i, k) / t).

    sim is the cosine. Positives are all other views of the same label (B,), and the other view of the same sample where that is -1. Without labels
    this is NT-Xent.
    """
    if len(a) < 2:
        raise ValueError("supervised contrast needs at least 2 samples: a batch of 1 has no negatives")
    kind = torch.where(label >= 0, label, -1 - torch.arange(len(label), device=label.device)).repeat(2)
    return weighted_contrast(torch.cat([a, b]), (kind[:, None] == kind).float(), temperature)
