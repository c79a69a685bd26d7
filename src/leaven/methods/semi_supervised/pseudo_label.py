from torch.nn import functional as F

from leaven.methods import Encoder, NonNegative, Share, ShareBelowOne
from leaven.methods.partly_labeled import PartlyLabeled


class PseudoLabel(PartlyLabeled):
    """The class that the network finds likeliest is learned as if it were the label (Lee 2013, eq. 15), at a weight that rises with the training.

    weight: of the unlabeled samples. ramp: share of the training over which it rises. momentum: of the average of the weights, which is kept.
    """

    paper = "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural Networks (Lee)"
    year = 2013
    views_of_unlabeled = ("weak",)

    def __init__(self, encoder: Encoder, data, *, weight: NonNegative = 1.0, ramp: Share = 0.5, momentum: ShareBelowOne = 0.999, **supervised):
        super().__init__(encoder, data, weight=weight, ramp=ramp, momentum=momentum, **supervised)

    def of_unlabeled(self, outputs):
        (logits,) = outputs.unlabeled
        return F.cross_entropy(logits, logits.detach().argmax(1))
