import math

import torch
from torch import nn
from torch.nn import functional as F

from leaven.methods import DataSpec, Encoder, Outputs, Positive, Recipe, Width
from leaven.methods.surgery import Lateral, Surgery
from leaven.modalities.mask import IGNORED


class Segmentation(Surgery):
    """Name each pixel, by a small pyramid over the encoder's maps (Kirillov et al. 2019, section 3.2, with one convolution for each scale).

    train: "all", "last:N" (the last N blocks of the encoder), or "head" (all but the encoder). encoder_rate: the encoder's learning rate, as a
    multiple of the head's. width: channels of the head.
    """

    paper = "Panoptic Feature Pyramid Networks (Kirillov et al.)"
    year = 2019
    recipe = Recipe(optimizer="adamw", lr=2e-3, batch=8, weight_decay=0.05, lr_rule="none", warmup=0.1, steps=300)
    loss_over_batch = False
    target = "mask"

    def __init__(self, encoder: Encoder, data: DataSpec, *, train: str = "all", encoder_rate: Positive = 0.5, width: Width = 64):
        super().__init__(encoder, data, train=train, encoder_rate=encoder_rate)
        self.lateral = Lateral([channels for channels, _ in self.shapes], width)
        self.mixed = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.GroupNorm(8, width), nn.ReLU()) for _ in self.shapes
        )
        self.classifier = nn.Conv2d(width, self.classes, 1)

    def logits(self, x):
        """(B, classes, height, width) at the finest scale, of the padded pictures; and the sides of these."""
        maps, sides = self.maps(x)
        mixed = [mix(one) for mix, one in zip(self.mixed, self.lateral(maps), strict=True)]
        finest = mixed[0].shape[2:]
        return self.classifier(sum(F.interpolate(one, finest, mode="bilinear") for one in mixed)), sides

    def segment(self, value):
        logits, sides = self.logits(value)
        height, width = value.main.shape[2:]
        return F.interpolate(logits.float(), sides, mode="bilinear")[:, :, :height, :width]

    def forward(self, views):
        mask = views["target"].classes
        return Outputs(logits=self.segment(views["x"]), mask=mask)

    def loss(self, outputs):
        """The mean over samples of the mean over their pixels that have a class."""
        nats = F.cross_entropy(outputs.logits, outputs.mask.long(), ignore_index=IGNORED, reduction="none")
        known = (outputs.mask != IGNORED).sum((1, 2))
        return {"cross_entropy": (nats.sum((1, 2)) / known.clamp_min(1)).mean()}

    def chance(self, outputs):
        return math.log(self.classes)

    def measures(self, outputs):
        known = outputs.mask != IGNORED
        right = (outputs.logits.argmax(1) == outputs.mask)[known].float().mean()
        return {"pixel_accuracy": torch.nan_to_num(right).item()}
