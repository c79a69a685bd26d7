import math

import torch
from torch import nn
from torch.nn import functional as F

from leaven.losses import mean_within
from leaven.methods import Count, Encoder, Method, Outputs, Recipe
from leaven.methods.audio.apc import check_ahead


class Wav2Vec(Method):
    """From the frames so far, tell each of the next frames from others of the same sample (Schneider et al. 2019, eq. 1).

    The paper compares with the vectors of its convolutions. Log-mel frames have no weights that could learn, so it is a linear layer of the frames
    that is compared, whatever they are.

    ahead: how many of the next frames, each with a linear layer of its own (1 or more). negatives: for each of these, how many other frames of the
    sample are drawn at random, each of which counts as much as the right one (1 or more).
    """

    paper = "wav2vec: Unsupervised Pre-training for Speech Recognition (Schneider et al.)"
    year = 2019
    recipe = Recipe(optimizer="muon", lr=1e-2, batch=64, weight_decay=0.05, warmup=0.1)
    wants = "causal_frames"
    purpose = "reconstruction"
    loss_over_batch = False

    def __init__(self, encoder: Encoder, *, ahead: Count = 6, negatives: Count = 10):
        super().__init__(encoder)
        check_ahead(ahead, encoder)
        self.ahead, self.negatives = ahead, negatives
        self.target = nn.Linear(encoder.latent_size, encoder.dim)
        self.steps = nn.ModuleList(nn.Linear(encoder.dim, encoder.dim) for _ in range(ahead))
        for step in self.steps:
            nn.init.normal_(step.weight, std=1 / encoder.dim)  # scores are near 0 at first

    def views(self, batch, draw):
        (sample,) = self.augment(batch["x"], draw)
        real = self.encoder.real_tokens(sample)
        number = draw.child("negatives").uniform(len(batch), real.shape[1], self.negatives).to(real.device)
        return {"sample": sample, "others": other_places(number, real)}

    def forward(self, views):
        frames = self.encoder.frames(views["sample"])
        context, latents = self.encoder.context(frames).tokens, self.target(frames.latents)
        right, wrong = [], []
        for k, step in enumerate(self.steps, 1):
            scores = step(context[:, :-k]) @ latents.transpose(1, 2)
            right.append(scores.diagonal(k, 1, 2))
            wrong.append(scores.gather(2, views["others"][:, k:]))
        return Outputs(right=right, wrong=wrong, real=frames.real)

    def loss(self, outputs):
        terms = {}
        for k, (right, wrong) in enumerate(zip(outputs.right, outputs.wrong, strict=True), 1):
            surprise = F.softplus(-right) + F.softplus(wrong).sum(2)  # -log sigmoid(right) - sum of log sigmoid(-wrong)
            terms[f"{k}_ahead"] = mean_within(surprise, distinguishable(outputs.real)[:, k:])
        return terms

    def chance(self, outputs):
        counted = distinguishable(outputs.real)
        places = sum(counted[:, k:].any(1).float().mean().item() for k in range(1, self.ahead + 1))
        return (1 + self.negatives) * math.log(2) * places

    def measures(self, outputs):
        """How often the right frame has a higher score than another: 0.5 by chance. Of the nearest and the farthest step."""
        shares = {}
        for name, k in {"nearest": 1, "farthest": self.ahead}.items():
            higher = (outputs.right[k - 1][..., None] > outputs.wrong[k - 1]).float().mean(2)
            shares[f"identified_{name}"] = (higher[distinguishable(outputs.real)[:, k:]]).mean().item()
        return shares


def other_places(number, real):
    """(B, frames, negatives) int64: for each frame, places of other real frames of its sample, from numbers in 0-1; of a lone frame, itself."""
    count = real.sum(1)[:, None, None]
    place = (number * (count - 1)).long().clamp(max=(count - 2).clamp(min=0))
    own = torch.arange(real.shape[1], device=real.device)[:, None]
    return (place + (place >= own).long()).minimum(count - 1)


def distinguishable(real):
    """Real frames (B, frames) of samples that have another."""
    return real & (real.sum(1, keepdim=True) > 1)
