from typing import Literal

import torch
from torch import nn

from leaven.encoders.encoder import Hidden
from leaven.errors import UserError
from leaven.losses import mean_within
from leaven.methods import Count, Encoder, Method, Outputs, PartialShare, Recipe
from leaven.views.spans import parted, spans


class MaskedPrediction(Method):
    """Predict the frames that are hidden from those that are seen (Liu et al. 2020): spans from what is around them, the future from the past or from
    the recent past alone, or the past from the present.

    Frames are those of a log-mel spectrogram, or pieces of a signal. The context sees to both sides, and hidden frames by their places alone.

    mask: what is predicted, "spans", "future" (from all that came before), "recent" (the future, from what came just before) or "past" (from what
    comes after it). mask_starts: share of a sample's frames with which a hidden span begins (above 0, below 1). mask_length: frames of a span, at
    most half of a sample's. cut: the earliest and the latest moment between past and future, as shares of a sample. recent: which share of a sample
    the recent past is (above 0, below 1).
    """

    paper = "Mockingjay: Unsupervised Speech Representation Learning with Deep Bidirectional Transformer Encoders (Liu et al.)"
    year = 2020
    recipe = Recipe(optimizer="muon", lr=1e-2, batch=64, weight_decay=0.05, warmup=0.1)
    wants = "frames"
    purpose = "reconstruction"
    loss_over_batch = False

    def __init__(
        self,
        encoder: Encoder,
        *,
        mask: Literal["spans", "future", "recent", "past"] = "spans",
        mask_starts: PartialShare = 0.08,
        mask_length: Count = 10,
        cut: tuple[PartialShare, PartialShare] = (0.3, 0.7),
        recent: PartialShare = 0.2,
    ):
        super().__init__(encoder)
        self.mask, self.mask_starts, self.mask_length, self.cut, self.recent = mask, mask_starts, mask_length, cut, recent
        if "patches" not in encoder.offers:
            raise UserError("frames of this encoder cannot be predicted: they are not numbers", hint="leave --encoder out")
        self.mask_token = nn.Parameter(torch.randn(encoder.dim) * 0.02)
        hidden = nn.Linear(encoder.dim, encoder.dim)
        self.predict = nn.Sequential(hidden, nn.GELU(), nn.LayerNorm(encoder.dim), nn.Linear(encoder.dim, encoder.patch_size))

    def no_weight_decay(self):
        return {"mask_token"}

    def views(self, batch, draw):
        (sample,) = self.augment(batch["x"], draw)
        return {"sample": sample, **self.masks(draw.child("mask"), self.encoder.real_tokens(sample))}

    def masks(self, draw, real):
        """hidden: frames whose content is not seen. predicted: those of them that are to be predicted. real: those within their sample."""
        if self.mask == "spans":
            hidden = spans(draw, real, self.mask_starts, self.mask_length)
            return {"hidden": hidden, "predicted": hidden, "real": real}
        earlier, later = parted(draw, real, self.cut)
        hidden = earlier if self.mask == "past" else later
        if self.mask != "recent":
            return {"hidden": hidden, "predicted": hidden, "real": real}
        count = (self.recent * real.sum(1, keepdim=True)).round().clamp(min=1)
        before = earlier.sum(1, keepdim=True) - torch.arange(real.shape[1], device=real.device)
        return {"hidden": real & ~(earlier & (before <= count)), "predicted": later, "real": real}

    def forward(self, views):
        sample, hidden = views["sample"], views["hidden"]
        tokens = self.encoder.token_features(sample, hidden=Hidden(hidden, self.mask_token)).tokens
        masks = {name: views[name] for name in ("hidden", "predicted", "real")}
        return Outputs(prediction=self.predict(tokens), target=self.encoder.patches(sample), **masks)

    def loss(self, outputs):
        return {"distance": distance(outputs.prediction, outputs)}

    def chance(self, outputs):
        return distance(0 * outputs.target, outputs).item()

    def measures(self, outputs):
        return {name: (outputs[name].sum() / outputs.real.sum()).item() for name in ("hidden", "predicted")}


def distance(prediction, outputs):
    """L1, the mean over the values of a frame, over the predicted frames of a sample and over samples."""
    return mean_within((prediction - outputs.target).abs().mean(2), outputs.predicted)
