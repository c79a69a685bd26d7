import torch

from leaven.methods import Encoder, NonNegative, Outputs, Share, ShareBelowOne
from leaven.methods.partly_labeled import PartlyLabeled


class MeanTeacher(PartlyLabeled):
    """A view gets the probabilities that the moving average of the network gives another view (Tarvainen and Valpola 2017, eq. 1).

    weight: of the mean squared difference. ramp: share of the training over which it rises. momentum: of the average of the weights, which teaches
    and is kept.
    """

    paper = "Mean Teachers Are Better Role Models (Tarvainen and Valpola)"
    year = 2017
    views_of_unlabeled = ("weak", "weak")

    def __init__(self, encoder: Encoder, data, *, weight: NonNegative = 10.0, ramp: Share = 0.4, momentum: ShareBelowOne = 0.99, **supervised):
        super().__init__(encoder, data, weight=weight, ramp=ramp, momentum=momentum, **supervised)

    def forward(self, views):
        seen, taught = views["unlabeled"]
        outputs = super().forward({**views, "unlabeled": [taught]})
        with torch.no_grad():
            return Outputs(**outputs, teacher=self.average(seen))

    def of_unlabeled(self, outputs):
        return (outputs.unlabeled[0].softmax(1) - outputs.teacher.softmax(1)).square().mean()
