from typing import Literal

import torch

from leaven.errors import UserError
from leaven.methods import NonNegative, PartialShare, Stage
from leaven.methods.dual.joint_dual import JointDual


class DualUnsupervised(JointDual):
    """Texts without a partner teach two inverse tasks: what one model writes of such a text, the other must take back to it (He et al. 2016,
    algorithm 1; Su et al. 2020, section 3.3).

    First the pairs alone are learned. Then half of a batch, on average, are pairs, which go on teaching both tasks, and the other half are samples
    that lack one of their texts. He et al. sum two rewards, how likely what was written is by itself and how likely the way back is: that is
    feedback=reconstruction,marginals with gradient=policy.

    start: share of the steps for the pairs alone. weight: of the loop. feedback: "reconstruction", "scores" and "marginals", several with commas
    between them. gradient: "straight_through" or "policy", by which the loop teaches the model that wrote the text. The other settings are those of
    `joint_dual`.
    """

    paper = "Dual Learning for Machine Translation (He et al.)"
    year = 2016

    def __init__(
        self,
        encoders,
        data,
        *,
        start: PartialShare = 0.5,
        weight: NonNegative = 0.1,
        feedback: str = "reconstruction",
        gradient: Literal["straight_through", "policy"] = "straight_through",
        **joint,
    ):
        self.start = start
        super().__init__(encoders, data, weight=weight, feedback=feedback, gradient=gradient, **joint)

    def legs(self):
        trains = (self.senses, self.writers)
        yield Stage("pairs", self.start, prepare=self.look, trains=trains, members=self.paired)
        yield Stage("loop", 1 - self.start, trains=trains, members=self.half_unpaired)

    @property
    def closes_loop(self) -> bool:
        return self.weight > 0 and self.stage == 1 + self.needs_marginals

    def look(self, encode):
        super().look(encode)
        if self.there.all():
            what = "every sample has both texts: none is left that could teach without its partner"
            raise UserError(what, hint="use joint_dual, or add rows in which one of the two columns is empty")

    def half_unpaired(self):
        pairs, others = self.paired(), (~self.there.all(1)).nonzero().flatten()
        return torch.cat([others, pairs.repeat(-(-len(others) // len(pairs)))[: max(len(others), len(pairs))]])
