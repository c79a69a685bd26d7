import math

import torch
from torch import nn
from torch.nn import functional as F

from leaven.errors import UserError
from leaven.methods import Encoder, Method, Outputs, Recipe
from leaven.modalities import Pixels
from leaven.views.crop import rotate, turn_inside


class Rotation(Method):
    """Predict by how much a picture was rotated (Gidaris et al. 2018). Every picture is shown in all its rotations at once.

    angles: degrees, counter-clockwise; multiples of 90, or any angles with inside=true. inside: keep the square inside the inscribed circle, so that
    no corner is empty.
    """

    paper = "Unsupervised Representation Learning by Predicting Image Rotations (Gidaris et al.)"
    year = 2018
    recipe = Recipe(optimizer="muon", lr=2e-2, batch=128, weight_decay=0.05)
    modality = "pixels"
    purpose = "reconstruction"
    loss_over_batch = False

    def __init__(self, encoder: Encoder, *, angles: tuple[int, ...] = (0, 90, 180, 270), inside: bool = False):
        super().__init__(encoder)
        if len({angle % 360 for angle in angles}) < max(2, len(angles)):
            raise UserError(f"angles {angles} are not two or more different ones")
        if not inside and any(angle % 90 for angle in angles):
            raise UserError(f"angles {angles} are not all multiples of 90", hint="set inside=true to turn by others")
        self.angles, self.inside = angles, inside
        self.classifier = nn.Linear(encoder.dim, len(angles))

    def views(self, batch, draw):
        (picture,) = self.augment(batch["x"], draw)
        return [Pixels(self.turned(picture, angle)) for angle in self.angles]

    def turned(self, picture, angle):
        if self.inside:
            return turn_inside(picture.unit(), angle)
        return rotate(picture.pixels, torch.full((len(picture),), angle // 90 % 4, device=picture.pixels.device))

    def forward(self, views):
        features = self.encode(views)
        return Outputs(features=features, logits=[self.classifier(feature) for feature in features])

    def loss(self, outputs):
        answers = torch.arange(len(self.angles), device=outputs.logits[0].device).repeat_interleave(len(outputs.logits[0]))
        return {"rotation": F.cross_entropy(torch.cat(outputs.logits), answers)}

    def chance(self, outputs):
        return math.log(len(self.angles))
