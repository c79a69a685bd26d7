from typing import Annotated

import torch
from torch.nn import functional as F

from leaven.encoders.encoder import map_shape
from leaven.methods import Encoder, Method, NonNegative, Outputs, Range, Recipe
from leaven.modalities import Pixels
from leaven.modules.decoder import MapDecoder
from leaven.views.masks import ORDERS, check_mask, places_to_mask

GRID = 8, 8  # hidden areas are made of 64ths of the picture


class ContextEncoder(Method):
    """Paint the hidden part of a picture (Pathak et al. 2016, eq. 1, without the adversarial term, as the paper does to learn features).

    mask: what is hidden under the mean colour, "center", "blocks", "halves" (all from one side) or "random" squares. mask_ratio: share of the picture
    that is hidden (0 to 1). overlap: width of the visible border around it that is painted as well, as a share of the picture's side. overlap_weight:
    how much more an error in that border counts. decoder_width: channels of the decoder's first layer.
    """

    paper = "Context Encoders: Feature Learning by Inpainting (Pathak et al.)"
    year = 2016
    recipe = Recipe(optimizer="muon", lr=2e-2, batch=256, weight_decay=0.05)
    modality = "pixels"
    wants = "maps"
    purpose = "reconstruction"
    loss_over_batch = False

    def __init__(
        self,
        encoder: Encoder,
        *,
        mask: str = "blocks",
        mask_ratio: float = 0.25,
        overlap: Annotated[float, Range("from 0 to below 0.5", lambda overlap: 0 <= overlap < 0.5)] = 0.06,
        overlap_weight: NonNegative = 10.0,
        decoder_width: int = 128,
    ):
        super().__init__(encoder)
        channels, *size = encoder.input.shape
        self.hidden, self.order = check_mask(mask, mask_ratio, GRID[0] * GRID[1]), ORDERS[mask]
        self.overlap, self.overlap_weight = round(overlap * size[0]), overlap_weight
        self.decoder = MapDecoder(map_shape(encoder), channels, tuple(size), width=decoder_width, mixes=True)

    def views(self, batch, draw):
        (picture,) = self.augment(batch["x"], draw)
        places = self.order(draw.child("mask"), len(batch), GRID, self.hidden)[:, -self.hidden :]
        mask = places_to_mask(places, GRID[0] * GRID[1]).view(-1, 1, *GRID).float()
        hidden = F.interpolate(mask, picture.pixels.shape[2:], mode="nearest")
        mean = -self.encoder.shift / self.encoder.scale
        return {"picture": picture, "seen": Pixels(torch.where(hidden > 0, mean, picture.unit())), "hidden": hidden}

    def forward(self, views):
        hidden = views["hidden"]
        painted = self.decoder(self.encoder.maps(views["seen"]))
        border = F.max_pool2d(hidden, 2 * self.overlap + 1, stride=1, padding=self.overlap) - hidden
        return Outputs(painted=painted, target=self.encoder.normalize(views["picture"]), weight=hidden + self.overlap_weight * border)

    def loss(self, outputs):
        return {"inpainting": weighted_error(outputs.painted, outputs.target, outputs.weight)}

    def chance(self, outputs):
        return weighted_error(torch.zeros_like(outputs.target), outputs.target, outputs.weight).item()


def weighted_error(painted, target, weight):
    """Mean over samples of each one's weighted mean squared error."""
    error = (painted - target).square().mean(dim=1, keepdim=True)
    return ((weight * error).sum(dim=(1, 2, 3)) / weight.sum(dim=(1, 2, 3))).mean()
