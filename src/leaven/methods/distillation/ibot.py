import math

import torch
from torch import nn
from torch.nn import functional as F

from leaven.encoders.encoder import Hidden
from leaven.losses import across_crops
from leaven.methods import Encoder, Outputs, Recipe
from leaven.methods.distillation.dino import DINO
from leaven.modules.patches import gather_tokens
from leaven.views.masks import block_order, check_mask, places_to_mask


class IBOT(DINO):
    """DINO, and the same for hidden patches: match the assignment that the teacher, which sees them, gives them (Zhou et al. 2022, eq. 2 and 3).

    Blocks of both large crops are hidden, equally many patches in each. An encoder without a class token uses its feature, the mean token, instead.

    prototypes: how many there are, shared by pictures and patches. mask_ratio: share of the patches of a large crop that are hidden (0-1).
    patch_weight: weight of the loss of hidden patches relative to that of crops. center_momentum: of the running means that centre the teacher's
    scores. centering: subtract the running means, which keeps one prototype from taking all samples.
    """

    paper = "iBOT: Image BERT Pre-Training with Online Tokenizer (Zhou et al.)"
    year = 2022
    recipe = Recipe(optimizer="muon", lr=7e-3, batch=128, weight_decay=0.05, warmup=0.1)
    modality = "pixels"
    wants = "tokens"
    assign_patches: nn.Module

    def __init__(self, encoder: Encoder, *, mask_ratio: float = 0.3, patch_weight: float = 1.0, **dino):
        super().__init__(encoder, **dino)
        self.grid = encoder.input.shape[1] // encoder.patch, encoder.input.shape[2] // encoder.patch
        self.hidden, self.patch_weight = check_mask("blocks", mask_ratio, math.prod(self.grid)), patch_weight
        self.mask_token = nn.Parameter(torch.randn(encoder.dim) * 0.02)
        self.assign_patches = self.assigner()

    def views(self, batch, draw):
        orders = [block_order(draw.child("mask", crop), len(batch), self.grid, self.hidden) for crop in range(self.augment.count)]
        return {"crops": self.augment(batch["x"], draw), "hidden": [order[:, -self.hidden :] for order in orders]}

    def forward(self, views):
        crops, hidden = views["crops"], torch.cat(views["hidden"])
        large, small = crops[: self.augment.count], crops[self.augment.count :]
        pictures = large[0].cat(large)
        seen = self.encoder.token_features(pictures, hidden=Hidden(places_to_mask(hidden, math.prod(self.grid)), self.mask_token))
        features = [*seen.features.chunk(len(large)), *self.encode(small)]
        with torch.no_grad():
            encoder, *heads = self.teacher.network
            whole = encoder.token_features(pictures)
            targets, patch_targets = heads[0](whole.features), heads[-1](gather_tokens(whole.tokens, hidden))
        return Outputs(
            features=features,
            assignments=self.logits(self.heads[0], features),
            targets=list(targets.chunk(len(large))),
            patch_logits=self.logits(self.heads[-1], gather_tokens(seen.tokens, hidden).chunk(len(large))),
            patch_targets=list(patch_targets.chunk(len(large))),
        )

    def loss(self, outputs):
        logits, scores = (torch.cat(parts).flatten(0, 1) for parts in (outputs.patch_logits, outputs.patch_targets))
        (targets,) = self.targets(self.assign_patches, [scores])
        return {
            "crops": across_crops(outputs.assignments, self.targets(self.assign, outputs.targets)),
            "patches": self.patch_weight * F.cross_entropy(logits, targets),
        }

    def after_step(self, outputs, progress):
        super().after_step(outputs, progress)
        self.assign_patches.update(torch.cat(outputs.patch_targets).flatten(0, 1))

    def chance(self, outputs):
        return (1 + self.patch_weight) * math.log(self.prototypes)
