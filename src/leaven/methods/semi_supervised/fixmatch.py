from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from leaven.methods import DataSpec, Encoder, NonNegative, Share, ShareBelowOne
from leaven.methods.partly_labeled import PartlyLabeled

SMOOTHING = 0.999  # of what FreeMatch follows, as in its code


class FixMatch(PartlyLabeled):
    """A strong view gets the likeliest class of a weak one, where that is confident enough (Sohn et al. 2020, eq. 4).

    confidence: the probability that is enough. threshold: "fixed", or adapted to each class: by "flex" it is lower for classes that few samples are
    confident of (FlexMatch, Zhang et al. 2021, eq. 6 to 11); by "free" it is the mean confidence so far, less for classes that are predicted less,
    and `confidence` plays no part (FreeMatch, Wang et al. 2023, eq. 5 to 8). fairness: weight of the term by which FreeMatch keeps its predictions
    spread over the classes (eq. 11). weight: of the unlabeled samples. ramp: share of the training over which it rises. momentum: of the average of
    the weights, which is kept.
    """

    paper = "FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence (Sohn et al.)"
    year = 2020
    sure_of: Tensor
    level: Tensor
    shares: Tensor
    guessed: Tensor

    def __init__(
        self,
        encoder: Encoder,
        data: DataSpec,
        *,
        threshold: Literal["fixed", "flex", "free"] = "fixed",
        confidence: ShareBelowOne = 0.95,
        fairness: NonNegative = 0.0,
        weight: NonNegative = 1.0,
        ramp: Share = 0.0,
        momentum: ShareBelowOne = 0.999,
        **supervised,
    ):
        super().__init__(encoder, data, weight=weight, ramp=ramp, momentum=momentum, **supervised)
        self.rule, self.confidence, self.fairness = threshold, confidence, fairness
        classes = self.target.names
        if threshold == "flex":
            self.register_buffer("sure_of", torch.full((data.samples,), -1))  # the class of which each sample was confident when last seen
        self.register_buffer("level", torch.tensor(1 / classes))
        self.register_buffer("shares", torch.full((classes,), 1 / classes))
        self.register_buffer("guessed", torch.full((classes,), 1 / classes))

    def thresholds(self) -> Tensor:
        """(classes,) the probability from which a prediction counts."""
        if self.rule == "fixed":
            return torch.full_like(self.shares, self.confidence)
        if self.rule == "free":
            return self.level * self.shares / self.shares.max()
        known = self.sure_of[self.sure_of >= 0].bincount(minlength=len(self.shares)).float()
        learned = known / torch.maximum(known.max(), len(self.sure_of) - known.sum()).clamp_min(1)
        return self.confidence * learned / (2 - learned)

    def of_unlabeled(self, outputs):
        weak, strong = outputs.unlabeled
        share, guess = weak.detach().softmax(1).max(1)
        counts = share >= self.thresholds()[guess]
        loss = (counts * F.cross_entropy(strong, guess, reduction="none")).mean()  # over the whole batch, also what does not count
        return loss + self.fairness * self.unevenness(strong[counts]) if self.fairness and counts.any() else loss

    def unevenness(self, strong):
        """Minus the cross-entropy of the mean prediction, relative to that for all weak views so far; each is divided by how often its classes are
        the likeliest ones."""
        probabilities = strong.softmax(1)
        guessed = probabilities.argmax(1).bincount(minlength=probabilities.shape[1]) / len(probabilities)
        wanted, mean = self.shares / self.guessed.clamp_min(1e-6), probabilities.mean(0) * torch.where(guessed > 0, 1 / guessed, 0)
        return (wanted / wanted.sum() * (mean / mean.sum()).clamp_min(1e-12).log()).sum()

    @torch.no_grad()
    def after_step(self, outputs, progress):
        super().after_step(outputs, progress)
        weak = outputs.unlabeled[0].softmax(1)
        share, guess = weak.max(1)
        if self.rule == "flex":
            sure = share >= self.confidence
            self.sure_of[outputs.index[sure]] = guess[sure]
        self.level.lerp_(share.mean().to(self.level), 1 - SMOOTHING)
        self.shares.lerp_(weak.mean(0).to(self.shares), 1 - SMOOTHING)
        self.guessed.lerp_(guess.bincount(minlength=len(self.shares)).to(self.guessed) / len(guess), 1 - SMOOTHING)

    def measures(self, outputs):
        share, guess = outputs.unlabeled[0].detach().softmax(1).max(1)
        return super().measures(outputs) | {"counted": (share >= self.thresholds()[guess]).float().mean().item()}
