import math

import torch
from torch import nn

from leaven.losses import info_nce
from leaven.methods import Count, DataSpec, Encoder, Method, Outputs, Positive, Recipe, Share
from leaven.modules import Teacher
from leaven.modules.batchnorm import has_batch_norm
from leaven.modules.memory import Queue


class MoCoV1(Method):
    """Identify a sample's own key, made by a slowly moving copy of the encoder, in a queue of earlier keys (He et al. 2020, eq. 1).

    temperature: of the softmax over keys (above 0). queue: number of earlier keys (1 or more; at most half of the samples, since a sample's own
    earlier key is no negative). momentum: share of the copy that stays at each step (0-1; the paper's 0.999 suits trainings of 100,000 steps and
    more). norm_groups: sub-batches that batch norm sees separately, different ones for keys and queries, since shared statistics give the answer away
    (section 3.3; 1: not split). projector: widths of the layers after the encoder.
    """

    paper = "Momentum Contrast for Unsupervised Visual Representation Learning (He et al.)"
    year = 2020
    recipe = Recipe(optimizer="muon", lr=2e-2, batch=256, weight_decay=0.05)

    def __init__(
        self,
        encoder: Encoder,
        data: DataSpec,
        *,
        temperature: Positive = 0.07,
        queue: Count = 4096,
        momentum: Share = 0.99,
        norm_groups: Count = 4,
        projector: tuple[int, ...] = (128,),
    ):
        super().__init__(encoder)
        self.temperature = temperature
        self.norm_groups = norm_groups if has_batch_norm(encoder) else 1
        self.projector = perceptron(encoder.dim, *projector)
        self.teacher = Teacher(self.encoder, self.projector, momentum=momentum, rising=False)
        self.queue = Queue(min(queue, max(1, data.samples // 2)), projector[-1])

    def forward(self, views):
        query = in_groups(lambda view: self.projector(self.encoder(view)), views[0], self.norm_groups)
        key = in_groups(self.teacher, views[1], self.norm_groups, across=True)
        return Outputs(embeddings=[query, key])

    def loss(self, outputs):
        """In the first step, when the queue is empty, the other keys of the batch are the negatives."""
        negatives = self.queue.entered
        return {"info_nce": info_nce(*outputs.embeddings, self.temperature, negatives if len(negatives) else None)}

    def chance(self, outputs):
        return math.log(1 + (len(self.queue.entered) or len(outputs.embeddings[0]) - 1))

    def after_step(self, outputs, progress):
        super().after_step(outputs, progress)
        self.queue.enqueue(outputs.embeddings[1])


def in_groups(network, rows, groups, across=False):
    """A network's outputs for a batch that it sees in parts: row r belongs to part r % groups, or `across` these to part r // groups % groups.

    A part of one kind shares as few rows as possible with a part of the other. There are fewer parts where each would be smaller than their number.
    The parts are the same on several processes if groups^2 divides the rows of each process.
    """
    groups = min(groups, math.isqrt(len(rows)))
    part = torch.arange(len(rows)) // (groups if across else 1) % groups
    order = part.argsort(stable=True)
    outputs = torch.cat([network(rows[chosen]) for chosen in order.split(part.bincount().tolist())])
    return outputs[order.argsort().to(outputs.device)]


def perceptron(inputs, *widths):
    """Linear layers with ReLU between them, and no batch norm."""
    layers = [layer for before, width in zip((inputs, *widths), widths, strict=False) for layer in (nn.Linear(before, width), nn.ReLU())]
    return nn.Sequential(*layers[:-1])
