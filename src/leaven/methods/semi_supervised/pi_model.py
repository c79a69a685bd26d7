from leaven.methods import Encoder, NonNegative, Share, ShareBelowOne
from leaven.methods.partly_labeled import PartlyLabeled


class PiModel(PartlyLabeled):
    """Two views of a sample get the same probabilities, with or without a label (Laine and Aila 2017, algorithm 1).

    weight: of the mean squared difference. ramp: share of the training over which it rises. momentum: of the average of the weights, which is kept.
    """

    paper = "Temporal Ensembling for Semi-Supervised Learning (Laine and Aila)"
    year = 2017
    views_of_unlabeled = ("weak", "weak")

    def __init__(self, encoder: Encoder, data, *, weight: NonNegative = 10.0, ramp: Share = 0.4, momentum: ShareBelowOne = 0.999, **supervised):
        super().__init__(encoder, data, weight=weight, ramp=ramp, momentum=momentum, **supervised)

    def of_unlabeled(self, outputs):
        first, second = (logits.softmax(1) for logits in outputs.unlabeled)
        return (first - second).square().mean()
