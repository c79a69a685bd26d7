import math

import torch
from torch import nn
from torch.nn import functional as F

from leaven.errors import UserError
from leaven.methods import Encoder, Method, Outputs, Positive, Recipe, Share
from leaven.sampling import Nearness


class RelativePositioning(Method):
    """Tell two windows of a recording that are near each other from two that are far apart, by a logistic regression on the difference of their
    features (Banville et al. 2021, eq. 1-2).

    It learns from windows of long recordings. Near windows do not overlap. What changes slowly (sleep, drowsiness, a place) is what tells them apart,
    and so does what drifts (an electrode that dries).

    near: seconds from the beginning of a window to that of a near one, at most. far: seconds to that of a far one, at least. elsewhere: share of the
    far windows that come from another recording (0-1; 0 in the paper); all of them where their own recording is too short.
    """

    paper = "Uncovering the Structure of Clinical EEG Signals with Self-Supervised Learning (Banville et al.)"
    year = 2021
    recipe = Recipe(lr=1e-2, batch=64)
    modality = ("signal", "wave")
    purpose = "reconstruction"
    pools = {"window": 1, "near": 1, "far": 1}
    loss_over_batch = False

    def __init__(self, encoder: Encoder, *, near: Positive = 10.0, far: Positive = 30.0, elsewhere: Share = 0.5):
        super().__init__(encoder)
        if far < near:
            raise UserError(f"windows {far:g} s apart cannot be far where those {near:g} s apart are near", where="far", hint="choose near below far")
        self.nearness = Nearness(near, far, elsewhere)
        self.classifier = nn.Linear(encoder.dim, 1)

    def views(self, batch, draw):
        return {pool: self.augment(windows["x"], draw.child(pool))[0] for pool, windows in batch.items()}

    def forward(self, views):
        window, near, far = self.encode([views["window"], views["near"], views["far"]])
        return Outputs(near=self.classifier((window - near).abs())[:, 0], far=self.classifier((window - far).abs())[:, 0])

    def loss(self, outputs):
        """Of near pairs and far pairs, of which there are as many."""
        return {"position": (F.softplus(-outputs.near).mean() + F.softplus(outputs.far).mean()) / 2}

    def chance(self, outputs):
        return math.log(2)

    def measures(self, outputs):
        return {"told_apart": torch.cat([outputs.near > 0, outputs.far < 0]).float().mean().item()}
