import math

import torch

from leaven.errors import UserError
from leaven.losses import info_nce
from leaven.methods import Encoder, Method, Outputs, Positive, Recipe, Share
from leaven.modalities import Pixels
from leaven.modules.context import Forecast
from leaven.modules.patches import overlapping_patches


class CPC(Method):
    """From the rows of patches so far, identify the patches some rows below among all others of the batch (van den Oord et al. 2018, eq. 4).

    Patches overlap by half and are encoded one by one. The trained encoder reads whole pictures: it averages its own positions where the paper
    averages the vectors of a picture's patches.

    patch: side of a patch in pixels (none: a quarter of the picture, and at least 8). ahead: how many rows below (1 or more; rows beyond the grid are
    left out; the row directly below still overlaps). temperature: of the softmax over patches (above 0). width: of the context network. depth: number
    of its blocks, each of which sees one row further up. dim: length of a prediction. flip: share of patches that are mirrored (0-1; Henaff et al.
    2020). grey: share of patches that keep a single colour channel (0-1; the same).
    """

    paper = "Representation Learning with Contrastive Predictive Coding (van den Oord et al.)"
    year = 2018
    recipe = Recipe(optimizer="muon", lr=2e-2, batch=128, weight_decay=0.05)
    modality = "pixels"
    purpose = "reconstruction"

    def __init__(
        self,
        encoder: Encoder,
        *,
        patch: int | None = None,
        ahead: tuple[int, ...] = (2, 3),
        temperature: Positive = 0.1,
        width: int = 128,
        depth: int = 3,
        dim: int = 128,
        flip: Share = 0.5,
        grey: Share = 0.0,
    ):
        super().__init__(encoder)
        height, breadth = encoder.input.shape[1:]
        self.patch = patch or max(8, min(height, breadth) // 4)
        rows = (height - self.patch) // (self.patch // 2) + 1
        ahead = tuple(k for k in ahead if 1 <= k < rows)
        if not ahead:
            raise UserError(f"patches of {self.patch} pixels make {max(rows, 0)} rows, too few to predict any", hint="choose a smaller patch")
        self.temperature, self.flip, self.grey = temperature, flip, grey
        self.forecast = Forecast(encoder.dim, ahead, width=width, depth=depth, dim=dim)

    def views(self, batch, draw):
        """(B, rows, columns, channels, side, side): each patch with its own random changes."""
        (picture,) = self.augment(batch["x"], draw)
        patches = overlapping_patches(picture.unit(), self.patch, self.patch // 2)
        samples, rows, columns, channels = patches.shape[:4]

        def selected(name, share):
            return draw.child(name).chance(share, samples, rows, columns)[..., None, None, None]

        patches = torch.where(selected("patch_flip", self.flip), patches.flip(-1), patches)
        kept = draw.child("patch_channel").integers(channels, samples, rows, columns)[..., None, None, None]
        return torch.where(selected("patch_grey", self.grey), patches.take_along_dim(kept, dim=3), patches)

    def forward(self, patches):
        latents = self.encoder(Pixels(patches.flatten(0, 2))).unflatten(0, patches.shape[:3])
        predictions, targets = self.forecast(latents)
        return Outputs(predictions=predictions, targets=targets)

    def loss(self, outputs):
        pairs = zip(self.forecast.ahead, outputs.predictions, outputs.targets, strict=True)
        return {f"{k}_ahead": info_nce(prediction.flatten(0, 2), target.flatten(0, 2), self.temperature) for k, prediction, target in pairs}

    def chance(self, outputs):
        return sum(math.log(target.shape[:3].numel()) for target in outputs.targets)
