import math

import torch
from torch.nn import functional as F

from leaven.methods import Encoder, Method, Outputs, Recipe, Share
from leaven.modalities import Pixels
from leaven.modules import mlp
from leaven.views.patches import cut_patches, drop_colors, enlarge_patches, enlarged_side, normalize_patch, patch_side

NEIGHBOURS = torch.tensor([0, 1, 2, 3, 5, 6, 7, 8])  # the cells of a 3 x 3 grid around its middle, row by row


class RelativePosition(Method):
    """Predict on which of the eight sides of a patch its neighbour was (Doersch et al. 2015).

    gap: between neighbouring patches, as a share of a third of the picture (0 to 1). jitter: share of the gap by which patches move at random (0 to
    1). enlarge: side to which patches are enlarged, as a share of the picture's side (0 to 1). normalize_patches: give each patch the same mean and
    deviation in every channel. drop: share of pairs that keep a single colour channel (0 to 1), for photographs that are large enough to show the
    lens's shift between colours. classifier: widths of the layers on the features of both patches.

    Gap and jitter hide lines that continue from patch to patch.
    """

    paper = "Unsupervised Visual Representation Learning by Context Prediction (Doersch et al.)"
    year = 2015
    recipe = Recipe(optimizer="muon", lr=1e-2, batch=256, weight_decay=0.05)
    modality = "pixels"
    purpose = "reconstruction"  # without random crops the middle of the picture gives the answer away
    loss_over_batch = False

    def __init__(
        self,
        encoder: Encoder,
        *,
        gap: float = 0.25,
        jitter: Share = 0.5,
        enlarge: float = 0.5,
        normalize_patches: bool = True,
        drop: Share = 0.0,
        classifier: tuple[int, ...] = (512,),
    ):
        super().__init__(encoder)
        side = min(encoder.input.shape[1:])
        self.patch, self.shown = patch_side(side, 3, gap), enlarged_side(side, enlarge, getattr(encoder, "patch", 1))
        self.jitter, self.normalize_patches, self.drop = jitter, normalize_patches, drop
        self.classifier = mlp(2 * encoder.dim, *classifier, 8)

    def views(self, batch, draw):
        (picture,) = self.augment(batch["x"], draw)
        x = picture.unit()
        patches = cut_patches(x, draw.child("patches"), cells=3, patch=self.patch, jitter=self.jitter)
        position = draw.child("position").integers(8, len(batch)).to(x.device)
        pair = [patches[4], patches[NEIGHBOURS.to(x.device)[position], torch.arange(len(batch), device=x.device)]]
        pair = list(enlarge_patches(torch.stack(pair), self.shown))
        return {"pair": [Pixels(patch) for patch in self.without_clues(pair, draw)], "position": position}

    def without_clues(self, pair, draw):
        """The patches without the traces of the lens, which give away their places."""
        if self.normalize_patches:
            mean, std = -self.encoder.shift / self.encoder.scale, 1 / self.encoder.scale
            pair = [normalize_patch(patch, mean, std) for patch in pair]
        rows, channels = pair[0].shape[:2]
        if self.drop and channels > 1:
            kept = draw.child("kept").integers(channels, rows).to(pair[0].device)
            dropped = draw.child("drop").chance(self.drop, rows)[:, None, None, None].to(pair[0].device)
            noise = [draw.child("noise", number).normal(*patch.shape).to(patch) for number, patch in enumerate(pair)]
            pair = [torch.where(dropped, drop_colors(patch, kept, grain), patch) for patch, grain in zip(pair, noise, strict=True)]
        return pair

    def forward(self, views):
        both = torch.cat(self.encode(views["pair"]), dim=1)
        return Outputs(logits=self.classifier(both), position=views["position"])

    def loss(self, outputs):
        return {"position": F.cross_entropy(outputs.logits, outputs.position)}

    def chance(self, outputs):
        return math.log(8)
