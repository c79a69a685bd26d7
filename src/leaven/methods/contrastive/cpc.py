import math

import torch
from torch import nn

from leaven.errors import UserError
from leaven.losses import info_nce
from leaven.methods import Count, Encoder, Method, Outputs, Positive, Recipe, Share
from leaven.modalities import Pixels
from leaven.modules.context import Forecast
from leaven.modules.patches import overlapping_patches


class CPC(Method):
    """From the patches above, or from the frames of a sound or a signal so far, identify those some rows below, or some steps later, among others of
    the batch (van den Oord et al. 2018, eq. 4).

    Patches overlap by half, are encoded one by one and told from all others of the batch. The trained encoder reads whole pictures: it averages its
    own positions where the paper averages the vectors of a picture's patches. Frames are told from frames of the same sample and of others, by the
    causal context that the encoder itself has; a linear layer of the frames is what is identified.

    patch: side of a patch in pixels (none: a quarter of the picture, and at least 8). ahead: how many rows below, or steps later (1 or more; what is
    beyond the grid or the sample is left out; the row directly below still overlaps). temperature: of the softmax over patches or frames (above 0).
    width: of the context network over patches. depth: number of its blocks, each of which sees one row further up. dim: length of a prediction. flip:
    share of patches that are mirrored (0-1; Henaff et al. 2020). grey: share of patches that keep a single colour channel (0-1; the same). negatives:
    how many frames of the batch a frame is told from (1 or more).
    """

    paper = "Representation Learning with Contrastive Predictive Coding (van den Oord et al.)"
    year = 2018
    recipe = Recipe(optimizer="muon", lr=2e-2, batch=128, weight_decay=0.05)
    modality = ("pixels", "wave", "signal")
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
        negatives: Count = 512,
    ):
        super().__init__(encoder)
        self.temperature, self.flip, self.grey, self.negatives = temperature, flip, grey, negatives
        self.frames = "causal_frames" in encoder.offers
        if self.frames:
            frames = encoder.token_grid[1]
            self.ahead = steps_within(ahead, frames, f"samples have {frames} frames", "choose fewer steps ahead, or longer samples")
            self.predict = nn.ModuleList(nn.Linear(encoder.dim, dim) for _ in self.ahead)
            self.target = nn.Linear(encoder.latent_size, dim)
            return
        height, breadth = encoder.input.shape[1:]
        self.patch = patch or max(8, min(height, breadth) // 4)
        rows = (height - self.patch) // (self.patch // 2) + 1
        what = f"patches of {self.patch} pixels make {max(rows, 0)} rows"
        self.ahead = steps_within(ahead, rows, what, "choose a smaller patch")
        self.forecast = Forecast(encoder.dim, self.ahead, width=width, depth=depth, dim=dim)

    @classmethod
    def inputs(cls, data):
        return {"x": "features" if "x" in data.roles and data.roles["x"].planar else "causal_frames"}

    def views(self, batch, draw):
        """Pictures as (B, rows, columns, channels, side, side), each patch with its own random changes; others with an order of their frames."""
        (sample,) = self.augment(batch["x"], draw)
        if self.frames:
            real = self.encoder.real_tokens(sample)
            return {"sample": sample, "order": draw.child("negatives").uniform(*real.shape).to(real.device)}
        patches = overlapping_patches(sample.unit(), self.patch, self.patch // 2)
        samples, rows, columns, channels = patches.shape[:4]

        def selected(name, share):
            return draw.child(name).chance(share, samples, rows, columns)[..., None, None, None]

        patches = torch.where(selected("patch_flip", self.flip), patches.flip(-1), patches)
        kept = draw.child("patch_channel").integers(channels, samples, rows, columns)[..., None, None, None]
        return torch.where(selected("patch_grey", self.grey), patches.take_along_dim(kept, dim=3), patches)

    def forward(self, views):
        if self.frames:
            frames = self.encoder.frames(views["sample"])
            context = self.encoder.context(frames).tokens
            predictions = [predict(context[:, :-k]) for k, predict in zip(self.ahead, self.predict, strict=True)]
            return Outputs(predictions=predictions, frames=self.target(frames.latents), real=frames.real, order=views["order"])
        latents = self.encoder(Pixels(views.flatten(0, 2))).unflatten(0, views.shape[:3])
        predictions, targets = self.forecast(latents)
        return Outputs(predictions=predictions, targets=targets)

    def loss(self, outputs):
        if self.frames:
            return self.identified(outputs)
        pairs = zip(self.ahead, outputs.predictions, outputs.targets, strict=True)
        return {f"{k}_ahead": info_nce(prediction.flatten(0, 2), target.flatten(0, 2), self.temperature) for k, prediction, target in pairs}

    def identified(self, outputs):
        """Each frame that a sample has so many steps later, among the real frames of the batch that come first in the order."""
        real, frames, place = outputs.real, outputs.frames, torch.arange(outputs.real.numel(), device=outputs.real.device).view_as(outputs.real)
        pool = outputs.order.masked_fill(~real, 2.0).flatten().argsort()[: min(self.negatives, int(real.sum()))]
        others, terms = frames.flatten(0, 1)[pool], {}
        for k, prediction in zip(self.ahead, outputs.predictions, strict=True):
            later = real[:, k:]
            own = place[:, k:][later][:, None] == pool
            terms[f"{k}_ahead"] = info_nce(prediction[later], frames[:, k:][later], self.temperature, others, own=own)
        return terms

    def chance(self, outputs):
        if self.frames:
            return len(self.ahead) * math.log1p(min(self.negatives, int(outputs.real.sum())))
        return sum(math.log(target.shape[:3].numel()) for target in outputs.targets)


def steps_within(ahead, steps, what, hint):
    """Those that a sequence of so many steps has. UserError where there are none."""
    within = tuple(k for k in ahead if 1 <= k < steps)
    if not within:
        raise UserError(f"{what}, too few to predict any", hint=hint)
    return within
