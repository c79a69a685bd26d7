import dataclasses
import math
from typing import Annotated

import torch
from torch.nn import functional as F

from leaven.methods import DataSpec, Encoder, Method, NonNegative, Outputs, Positive, Range, Recipe, ShareBelowOne
from leaven.modules import mlp
from leaven.modules.memory import Bank


class NPID(Method):
    """Every sample is its own class, and a memory bank holds the weights of all classes (Wu et al. 2018, eq. 2 to 10).

    An entry of the bank means nothing before its sample has been seen, so the training needs at least four passes over the data. Until then the loss
    is above ln(samples), that of a model that knows nothing, so no chance level is stated.

    temperature: of the softmax over samples (above 0). dim: length of an embedding. momentum: share of a bank entry that stays when its sample is
    seen (0 to below 1). noise: entries with which noise-contrastive estimation contrasts each sample (the paper's 4096 suits a million samples; 0:
    all, by the full softmax, from which a short training learns more). proximal: weight of the squared distance between an embedding and its entry (0
    or more; section 3.3).
    """

    paper = "Unsupervised Feature Learning via Non-Parametric Instance Discrimination (Wu et al.)"
    year = 2018
    recipe = Recipe(optimizer="muon", lr=2e-2, batch=256, weight_decay=0.05)
    normalizer: torch.Tensor

    def __init__(
        self,
        encoder: Encoder,
        data: DataSpec,
        *,
        temperature: Positive = 0.07,
        dim: int = 128,
        momentum: ShareBelowOne = 0.5,
        noise: Annotated[int, Range("0 or more", lambda noise: noise >= 0)] = 0,
        proximal: NonNegative = 0.0,
    ):
        super().__init__(encoder)
        self.augment = dataclasses.replace(self.augment, count=1)
        self.temperature, self.momentum, self.noise, self.proximal = temperature, momentum, noise, proximal
        self.projector = mlp(encoder.dim, dim, last_norm=True)  # centred: otherwise all cosines are near 1 at first, far above what Z expects
        self.bank = Bank(data.samples, dim)
        self.register_buffer("normalizer", torch.zeros(()))  # Z, estimated in the first step

    def views(self, batch, draw):
        """The batch shares the noise: each sample brings its part of it."""
        (view,) = self.augment(batch["x"], draw)
        share = -(-self.noise // (len(batch) * draw.parts))
        return {"x": view, "index": batch.index, "noise": draw.child("noise").integers(len(self.bank.embeddings), len(batch), share)}

    def forward(self, views):
        features = self.encoder(views["x"])
        return Outputs(embeddings=[self.projector(features)], index=views["index"], noise=views["noise"])

    def loss(self, outputs):
        (embedding,) = outputs.embeddings
        embedding, entry = F.normalize(embedding, dim=1, eps=1e-6), self.bank.embeddings[outputs.index]
        if self.noise:
            own, others = (embedding * entry).sum(1) / self.temperature, self.noise_logits(outputs)
            z = torch.where(self.normalizer > 0, self.normalizer, self.estimate(others))
            terms = {"nce": nce(own, others, z, len(self.bank.embeddings))}
        else:
            terms = {"softmax": F.cross_entropy(embedding @ self.bank.embeddings.T / self.temperature, outputs.index)}
        return terms | ({"proximal": self.proximal * (embedding - entry).square().sum(1).mean()} if self.proximal else {})

    def noise_logits(self, outputs):
        """(B, m): cosines of the batch with the noise entries, divided by the temperature."""
        return F.normalize(outputs.embeddings[0], dim=1, eps=1e-6) @ self.bank.embeddings[outputs.noise.flatten()].T / self.temperature

    def estimate(self, noise_logits):
        """Z, the sum over all samples of exp(cosine / t), by Monte Carlo (eq. 8)."""
        return len(self.bank.embeddings) * noise_logits.detach().exp().mean()

    def after_step(self, outputs, progress):
        super().after_step(outputs, progress)
        if self.noise:
            self.normalizer.copy_(torch.where(self.normalizer > 0, self.normalizer, self.estimate(self.noise_logits(outputs))))
        self.bank.update(outputs.index, outputs.embeddings[0], self.momentum)


def nce(own, noise, z, samples):
    """Noise-contrastive estimation against uniform noise (eq. 6 and 7), of logits (B,) of the data and (B, m) of the noise.

    log h = log P / (P + m / n) with P = exp(logit) / z, n the number of samples.
    """
    shift = math.log(noise.shape[1] / samples) + z.log()
    return -F.logsigmoid(own - shift).mean() - F.logsigmoid(shift - noise).sum(1).mean()
