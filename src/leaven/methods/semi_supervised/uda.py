from typing import Literal

import torch
from torch.nn import functional as F

from leaven.methods import Encoder, NonNegative, PositiveShare, Share, ShareBelowOne
from leaven.methods.partly_labeled import PartlyLabeled

RISES = {
    "linear": lambda done: done,
    "logarithmic": lambda done: 1 - torch.exp(-5 * done),
    "exponential": lambda done: torch.exp(5 * (done - 1)),
}


class UDA(PartlyLabeled):
    """A strong view gets the sharpened probabilities of a weak one, where these are confident (Xie et al. 2020, section 2.2).

    sharpness: temperature of the probabilities, 1 leaves them as they are. confidence: a sample counts if the probability of its likeliest class is
    at least this. annealing: how the probability rises above which a label is taken as learned and left out, "none" where all are learned
    (section 2.3). weight: of the unlabeled samples. ramp: share of the training over which it rises. momentum: of the average of the weights,
    which is kept.
    """

    paper = "Unsupervised Data Augmentation for Consistency Training (Xie et al.)"
    year = 2020

    def __init__(
        self,
        encoder: Encoder,
        data,
        *,
        sharpness: PositiveShare = 0.4,
        confidence: ShareBelowOne = 0.8,
        annealing: Literal["none", "linear", "logarithmic", "exponential"] = "none",
        weight: NonNegative = 1.0,
        ramp: Share = 0.0,
        momentum: ShareBelowOne = 0.999,
        **supervised,
    ):
        super().__init__(encoder, data, weight=weight, ramp=ramp, momentum=momentum, **supervised)
        self.sharpness, self.confidence, self.annealing = sharpness, confidence, annealing

    def of_labeled(self, outputs):
        """The mean over the labels that are not learned yet."""
        if self.annealing == "none":
            return super().of_labeled(outputs)
        chance = 1 / self.target.names
        most = chance + (1 - chance) * RISES[self.annealing](self.done)
        known = outputs.logits.detach().softmax(1).gather(1, outputs.label[:, None])[:, 0]
        counts = (known <= most).to(outputs.logits)
        nats = self.nats(outputs.logits, outputs.label)
        return (counts * nats).sum() / counts.sum().clamp_min(1)

    def of_unlabeled(self, outputs):
        weak, strong = outputs.unlabeled
        weak = weak.detach()
        counts = weak.softmax(1).max(1).values >= self.confidence
        difference = F.kl_div(strong.log_softmax(1), (weak / self.sharpness).log_softmax(1), reduction="none", log_target=True).sum(1)
        return (counts * difference).mean()
