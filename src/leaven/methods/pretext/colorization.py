import functools
from typing import Annotated

import torch
from torch import nn
from torch.nn import functional as F

from leaven.encoders.encoder import map_shape
from leaven.errors import UserError
from leaven.methods import Encoder, Method, Outputs, Positive, PositiveShare, Range, Recipe, Stage
from leaven.modalities import Pixels
from leaven.modalities.modality import fitted
from leaven.modules.decoder import MapDecoder
from leaven.views.color import rgb_to_lab


class Colorization(Method):
    """Predict the colours of a grey picture, place by place, as classes of the ab plane (Zhang et al. 2016, eq. 2-4).

    bin_size: side of a class in the ab plane of Lab. neighbours: how many of the nearest classes share a target. sigma: width of the Gaussian by
    which they share it, in units of Lab. rebalance: share of the uniform distribution that is mixed into that of the colours; a place is weighted by
    the inverse of the mixture (0 to 1; 1 weights all places equally). stride: pixels of the picture per place. decoder_width: channels of the
    decoder's first layer.

    The encoder sees the lightness in all three channels.
    """

    paper = "Colorful Image Colorization (Zhang et al.)"
    year = 2016
    recipe = Recipe(optimizer="muon", lr=2e-2, batch=256, weight_decay=0.05)
    modality = "pixels"
    wants = "maps"
    purpose = "reconstruction"
    loss_over_batch = False
    weights: torch.Tensor
    expected: torch.Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        bin_size: Annotated[int, Range("from 4 to 50", lambda size: 4 <= size <= 50)] = 10,
        neighbours: int = 5,
        sigma: Positive = 5.0,
        rebalance: PositiveShare = 0.5,
        stride: int = 4,
        decoder_width: int = 128,
    ):
        super().__init__(encoder)
        channels, *size = encoder.input.shape
        if channels != 3:
            raise UserError(f"colorization learns from colours, and these pictures have {channels} channel{'s' * (channels > 1)}")
        if not 1 <= stride <= min(size):
            raise UserError(f"stride must be from 1 to the picture's side, {min(size)}, not {stride}")
        bins = len(gamut(bin_size))
        if not 1 <= neighbours <= bins:
            raise UserError(f"neighbours must be from 1 to the {bins} classes, not {neighbours}")
        self.rebalance, self.size = rebalance, tuple(side // stride for side in size)
        self.soft_encode = SoftEncoding(bin_size, neighbours, sigma)
        self.register_buffer("weights", torch.ones(bins))
        self.register_buffer("expected", torch.full((bins,), 1 / bins))
        self.decoder = MapDecoder(map_shape(encoder), bins, self.size, width=decoder_width)

    def stages(self):
        return (Stage(prepare=self.prepare),)

    def prepare(self, encode):
        """Measure how often each colour occurs, and weight each by that (eq. 4)."""
        prior = encode(lambda batch: self.histogram(fitted(batch["x"], self.encoder.input))).mean(dim=0)
        _, one_color = self.soft_encode(torch.zeros_like(self.soft_encode.bins[:1]))
        if prior.max() > 0.999 * one_color.max():
            raise UserError("these pictures have no colours to learn from")
        self.weights.copy_(balance(prior, self.rebalance))
        self.expected.copy_(prior * self.weights)

    def histogram(self, picture):
        """(1, bins): the share of each class in the targets of a batch."""
        with torch.autocast(picture.pixels.device.type, enabled=False):
            _, nearest, shares = self.lightness_and_colors(picture)
        return torch.zeros_like(self.weights).index_add_(0, nearest.flatten(), shares.flatten().to(self.weights))[None] / shares.sum()

    def lightness_and_colors(self, picture):
        """The lightness as a picture, and of each place the nearest classes (B, height, width, neighbours) and their shares of the target."""
        lab = rgb_to_lab(picture.unit())
        ab = F.adaptive_avg_pool2d(lab[:, 1:], self.size).permute(0, 2, 3, 1)
        nearest, shares = self.soft_encode(ab)
        return Pixels((lab[:, :1] / 100).clamp(0, 1).expand_as(lab).contiguous()), nearest, shares

    def views(self, batch, draw):
        (picture,) = self.augment(batch["x"], draw)
        grey, nearest, shares = self.lightness_and_colors(picture)
        return {"grey": grey, "nearest": nearest, "shares": shares}

    def forward(self, views):
        return Outputs(logits=self.decoder(self.encoder.maps(views["grey"])).permute(0, 2, 3, 1), nearest=views["nearest"], shares=views["shares"])

    def loss(self, outputs):
        guesses = outputs.logits.log_softmax(dim=-1).gather(-1, outputs.nearest)
        weight = self.weights[outputs.nearest[..., 0]]
        return {"color": -(weight * (outputs.shares * guesses).sum(dim=-1)).mean()}

    def chance(self, outputs):
        share = self.expected / self.expected.sum()
        return -(share * share.clamp_min(1e-12).log()).sum().item()


@functools.cache
def gamut(size):
    """(bins, 2): centres of the squares of a grid in the ab plane that hold colours of sRGB."""
    values = torch.linspace(0, 1, 65, device="cpu")
    rgb = torch.cartesian_prod(values, values, values).T.reshape(1, 3, 1, -1)
    return (rgb_to_lab(rgb)[0, 1:, 0].T / size).round().unique(dim=0) * size


class SoftEncoding(nn.Module):
    """Colours (..., 2) -> the nearest bins of each, nearest first, and their shares, Gaussian in the distance and with sum 1 (section 2.2).

    Only the bins around a colour's own square are compared, which is some ten times faster.
    """

    around = 16
    bins: torch.Tensor
    near: torch.Tensor

    def __init__(self, size, neighbours, sigma):
        super().__init__()
        self.size, self.neighbours, self.sigma = size, neighbours, sigma
        self.side = 2 * (128 // size) + 1
        place = (torch.arange(self.side, device="cpu") - self.side // 2).float() * size
        bins = gamut(size)
        near = torch.cdist(torch.cartesian_prod(place, place), bins).topk(min(max(self.around, 2 * neighbours), len(bins)), largest=False).indices
        self.register_buffer("bins", bins, persistent=False)
        self.register_buffer("near", near, persistent=False)

    def forward(self, ab):
        square = (ab / self.size).round().long().clamp(-(self.side // 2), self.side // 2) + self.side // 2
        near = self.near[square[..., 0] * self.side + square[..., 1]]
        distance = (ab[..., None, :] - self.bins[near]).square().sum(dim=-1)
        nearest, order = distance.topk(self.neighbours, largest=False)
        return near.gather(-1, order), (-nearest / (2 * self.sigma**2)).softmax(dim=-1)


def balance(prior, uniform):
    """Weights inverse to the prior mixed with the uniform distribution, whose mean over the prior is 1 (eq. 4)."""
    weights = 1 / ((1 - uniform) * prior + uniform / len(prior))
    return weights / (prior * weights).sum()
