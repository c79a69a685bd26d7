import torch
from torch.nn import functional as F

from leaven.methods import Encoder, NonNegative, Outputs, Positive, PositiveShare, Share, ShareBelowOne
from leaven.methods.partly_labeled import PartlyLabeled, sharpened
from leaven.methods.supervised.supervised import beta, swapped


class MixMatch(PartlyLabeled):
    """Guesses from two views, sharpened, then labels and guesses mixed with each other (Berthelot et al. 2019, algorithm 1).

    The paper mixes pictures. Here features are mixed (Verma et al. 2019), so that any kind of data will do. A labeled sample is mixed with an
    unlabeled one, and an unlabeled one with another.

    sharpness: temperature of the guesses, 1 leaves them as they are. alpha: of the Beta distribution from which the shares are drawn. weight: of the
    squared error of the guesses. ramp: share of the training over which it rises. momentum: of the average of the weights, which is kept.
    """

    paper = "MixMatch: A Holistic Approach to Semi-Supervised Learning (Berthelot et al.)"
    year = 2019
    views_of_unlabeled = ("weak", "weak")
    without = ("rare_classes",)  # mixed labels are of several classes

    def __init__(
        self,
        encoder: Encoder,
        data,
        *,
        sharpness: PositiveShare = 0.5,
        alpha: Positive = 0.75,
        weight: NonNegative = 75.0,
        ramp: Share = 1.0,
        momentum: ShareBelowOne = 0.999,
        **supervised,
    ):
        super().__init__(encoder, data, weight=weight, ramp=ramp, momentum=momentum, **supervised)
        self.sharpness, self.alpha = sharpness, alpha

    def views(self, batches, draw):
        views = super().views(batches, draw)
        draws = {"of_labeled": len(batches["labeled"]), "of_unlabeled": len(batches["unlabeled"])}
        shares = {name: beta(self.alpha, draw.child(name).uniform(count, 1)) for name, count in draws.items()}
        return views | {name: torch.maximum(share, 1 - share).to(views["label"].device) for name, share in shares.items()}

    def forward(self, views):
        labeled, *unlabeled = self.encode([views["x"], *views["unlabeled"]])
        logits = [self.classifier(features) for features in unlabeled]
        guess = sharpened(sum(some.detach().float().softmax(1) for some in logits) / len(logits), self.sharpness)
        truth = F.one_hot(views["label"], self.target.names).to(guess)
        share, partner = views["of_labeled"].to(labeled), torch.arange(len(labeled), device=labeled.device) * len(guess) // len(labeled)
        mixed = {"logits": self.classifier(share * labeled + (1 - share) * unlabeled[0][partner])}
        mixed["truth"] = share * truth + (1 - share) * guess[partner]
        share = views["of_unlabeled"].to(labeled)
        mixed["mixed"] = self.classifier(share * unlabeled[0] + (1 - share) * swapped(unlabeled[1]))
        mixed["guess"] = share * guess + (1 - share) * swapped(guess)
        return Outputs(**mixed, label=views["label"], unlabeled=logits, index=views["index"])

    def of_labeled(self, outputs):
        return F.cross_entropy(outputs.logits, outputs.truth.to(outputs.logits))

    def of_unlabeled(self, outputs):
        return (outputs.mixed.softmax(1) - outputs.guess).square().mean()

    def chance(self, outputs):
        """The cross-entropy of mixed labels falls while the weight of the squared error rises."""
        return None
