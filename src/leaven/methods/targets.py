"""What supervised methods learn to name: the class of each sample, or its tags."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from leaven.data.batch import TAGS
from leaven.data.spec import DataSpec
from leaven.errors import UserError
from leaven.modules.calibration import best_temperature
from leaven.modules.one_vs_rest import best_threshold


class ClassTarget:
    """One class per sample. role: of the batch, which holds it. names: how many classes there are."""

    role = "label"

    def __init__(self, data: DataSpec):
        if data.classes < 2:
            raise UserError("supervised learning needs labels of two classes or more", hint="give them with --labels")
        self.names = data.classes

    def nats(self, logits: Tensor, target: Tensor, weights: Tensor, smoothing: float = 0.0) -> Tensor:
        """(B,) cross-entropy. weights: of the names. smoothing: share of each target that is spread over all."""
        return weights[target] * F.cross_entropy(logits, target, reduction="none", label_smoothing=smoothing)

    def chance(self, target: Tensor, weights: Tensor) -> float:
        """The mean of the same over samples, of a model that knows nothing."""
        return math.log(self.names)

    def balanced(self, target: Tensor) -> Tensor:
        """Weights by which all classes count equally."""
        return balanced(target, self.names)

    def alike(self, target: Tensor) -> Tensor:
        """(B, B) from 0 to 1: how much two samples have in common."""
        return (target[:, None] == target).float()

    def probabilities(self, logits: Tensor) -> Tensor:
        return logits.softmax(1)

    def temperature(self, logits: Tensor, target: Tensor) -> float:
        return best_temperature(logits, target)

    def threshold(self, logits: Tensor, target: Tensor) -> float | None:
        """From which probability on a name is given; None where the likeliest one is."""
        return None

    def measures(self, logits: Tensor, target: Tensor, weights: Tensor | None = None) -> dict[str, float]:
        """Of held-out samples; the first should become small. weights: of the names in it."""
        cross_entropy, accuracy = F.cross_entropy(logits, target, weights), (logits.argmax(1) == target).float().mean()
        return {"held_out_cross_entropy": cross_entropy.item(), "held_out_accuracy": accuracy.item()}


class TagTarget(ClassTarget):
    """Any number of tags per sample, each learned by itself; the cross-entropy is the mean over tags."""

    role = TAGS

    def __init__(self, data: DataSpec):
        self.names = len(data.tag_names)

    def nats(self, logits: Tensor, target: Tensor, weights: Tensor, smoothing: float = 0.0) -> Tensor:
        wanted = target.to(logits) * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, wanted, pos_weight=weights, reduction="none").mean(1)

    def chance(self, target: Tensor, weights: Tensor) -> float:
        return self.nats(torch.zeros_like(target, dtype=weights.dtype), target, weights).mean().item()

    def balanced(self, target: Tensor) -> Tensor:
        """Weights of the samples that have a tag, by which they count as much as all others."""
        counts = target.sum(0)
        return (len(target) - counts).clamp_min(1) / counts.clamp_min(1)

    def alike(self, target: Tensor) -> Tensor:
        """The share of the tags of either that both have (Jaccard)."""
        has = target.float()
        both = has @ has.T
        either = has.sum(1)[:, None] + has.sum(1) - both
        return both / either.clamp_min(1)

    def probabilities(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def temperature(self, logits: Tensor, target: Tensor) -> float:
        scores = logits.flatten()
        return best_temperature(torch.stack([torch.zeros_like(scores), scores], 1), target.flatten())

    def threshold(self, logits: Tensor, target: Tensor) -> float | None:
        return best_threshold(logits.sigmoid().cpu(), (target > 0).cpu())

    def measures(self, logits: Tensor, target: Tensor, weights: Tensor | None = None) -> dict[str, float]:
        has, given = target > 0, logits > 0
        f1 = 2 * (has & given).sum() / (has.sum() + given.sum()).clamp_min(1)
        return {"held_out_cross_entropy": F.binary_cross_entropy_with_logits(logits, target.to(logits)).item(), "held_out_f1": f1.item()}


def balanced(labels: Tensor, classes: int) -> Tensor:
    """(classes,) weights inversely proportional to how often each class occurs; their mean over the labels is 1."""
    counts = labels.bincount(minlength=classes)
    return labels.numel() / ((counts > 0).sum() * counts.clamp_min(1))


def target_of(data: DataSpec) -> ClassTarget:
    """Tags where the data has tags, else classes. UserError where it has neither."""
    return TagTarget(data) if data.tag_names else ClassTarget(data)
