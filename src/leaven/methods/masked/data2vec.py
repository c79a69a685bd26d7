from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from leaven.encoders.encoder import Hidden
from leaven.methods import Count, Encoder, Method, Outputs, Positive, Recipe, Share
from leaven.modules import Teacher
from leaven.modules.patches import gather_tokens
from leaven.views.masks import ORDERS, check_mask, places_to_mask


class Data2Vec(Method):
    """From a masked sample, predict the upper layers of a slow copy of the encoder that sees the whole sample (Baevski et al. 2022, eq. 1-2).

    Tokens are the patches of a picture, or the tokens of a text; the paper hides 15 % of the latter, chosen at random (mask_ratio=0.15, mask=random).

    mask_ratio: share of the tokens whose content is hidden (0 to 1). mask: which ones, "random", "blocks" (spans of a text), "halves" (all from one
    side) or "center". top_layers: how many of the teacher's last layers are averaged. normalize: each layer's outputs before the average, over the
    "tokens" of a sample (instance norm) or the "channels" of a token (layer norm). beta: distance up to which the loss is squared; beyond it is
    linear. momentum: of the teacher at the start and at the end (0 to 1), linear in between. stop_gradient: targets come from the teacher, without
    gradients; those of the encoder itself would collapse.
    """

    paper = "data2vec: A General Framework for Self-supervised Learning in Speech, Vision and Language (Baevski et al.)"
    year = 2022
    recipe = Recipe(optimizer="muon", lr=7e-3, batch=128, weight_decay=0.05, warmup=0.1)
    wants = "tokens"
    purpose = "reconstruction"
    guards = {"stop_gradient": "targets from a teacher, without gradients"}
    loss_over_batch = False

    def __init__(
        self,
        encoder: Encoder,
        *,
        mask_ratio: float = 0.6,
        mask: str = "blocks",
        top_layers: Count = 4,
        normalize: Literal["tokens", "channels"] = "tokens",
        beta: Positive = 2.0,
        momentum: tuple[Share, Share] = (0.99, 0.999),
        stop_gradient: bool = True,
    ):
        super().__init__(encoder)
        self.grid = encoder.token_grid
        self.hidden, self.mask_ratio = check_mask(mask, mask_ratio, self.grid[0] * self.grid[1]), mask_ratio
        self.order, self.top_layers, self.over, self.beta = ORDERS[mask], top_layers, 1 if normalize == "tokens" else 2, beta
        self.momentum, self.stop_gradient = momentum, stop_gradient
        self.mask_token = nn.Parameter(torch.randn(encoder.dim) * 0.02)
        self.predict = nn.Linear(encoder.dim, encoder.dim)
        self.teacher = Teacher(self.encoder, momentum=momentum[0], rising=False)

    def no_weight_decay(self):
        return {"mask_token"}

    def views(self, batch, draw):
        (sample,) = self.augment(batch["x"], draw)
        order = self.order(draw.child("mask"), len(batch), self.grid, self.hidden)
        real = self.encoder.real_tokens(sample)
        if real is None:
            return {"sample": sample, "hidden": order[:, -self.hidden :]}
        return {"sample": sample, "hidden": hidden_in_rows(order.to(real.device), real, self.mask_ratio)}

    def forward(self, views):
        sample, hidden = views["sample"], views["hidden"]
        whole = self.targets(sample)
        if hidden.dtype == torch.bool:
            tokens = self.encoder.token_features(sample, hidden=Hidden(hidden, self.mask_token)).tokens
            return Outputs(prediction=self.predict(tokens), target=whole, hidden=hidden, embeddings=[whole[:, 0]])
        tokens = self.encoder.token_features(sample, hidden=Hidden(places_to_mask(hidden, whole.shape[1]), self.mask_token)).tokens
        prediction = self.predict(gather_tokens(tokens, hidden))
        return Outputs(prediction=prediction, target=gather_tokens(whole, hidden), embeddings=[whole[:, whole.shape[1] // 2]])

    def targets(self, sample):
        """(B, tokens, dim): the mean of the upper layers' outputs, each normalised."""
        real = self.encoder.real_tokens(sample)
        if self.stop_gradient:
            with torch.no_grad():
                layers = self.teacher.network[0].token_features(sample).layers
        else:
            layers = self.encoder.token_features(sample).layers
        return torch.stack([normalized(layer, self.over, real) for layer in layers[-self.top_layers :]]).mean(dim=0)

    def loss(self, outputs):
        return {"prediction": self.distance(outputs.prediction, outputs)}

    def chance(self, outputs):
        return self.distance(torch.zeros_like(outputs.target), outputs).item()

    def distance(self, prediction, outputs):
        """Mean over samples of each one's mean over hidden tokens."""
        if "hidden" not in outputs:
            return F.smooth_l1_loss(prediction, outputs.target, beta=self.beta)
        distances = F.smooth_l1_loss(prediction, outputs.target, beta=self.beta, reduction="none").mean(2)
        return ((distances * outputs.hidden).sum(1) / outputs.hidden.sum(1).clamp(min=1)).mean()

    def after_step(self, outputs, progress):
        start, end = self.momentum
        self.teacher.momentum = start + (end - start) * progress
        super().after_step(outputs, progress)


def hidden_in_rows(order, real, ratio):
    """(B, tokens) bool: of the `real` tokens (B, tokens) of each sample, the share that an order (B, most tokens) of places lists last; 1 or more."""
    rank = order.flip(1).argsort(1)[:, : real.shape[1]].masked_fill(~real, order.shape[1])
    return rank.argsort(1).argsort(1) < (ratio * real.sum(1, keepdim=True)).round().clamp(min=1)


def normalized(tokens, over, real=None):
    """Mean 0 and variance 1 over one dimension of (B, tokens, dim), and over the `real` tokens (B, tokens) alone; fp32, since layers grow."""
    tokens = tokens.float() if tokens.dtype == torch.bfloat16 else tokens
    if real is not None and over == 1:
        share = (real / real.sum(1, keepdim=True).clamp(min=1))[..., None].to(tokens)
        tokens = tokens - (share * tokens).sum(1, keepdim=True)
        return tokens / ((share * tokens.square()).sum(1, keepdim=True) + 1e-5).sqrt()
    variance, mean = torch.var_mean(tokens, dim=over, keepdim=True, correction=0)
    return (tokens - mean) / (variance + 1e-5).sqrt()
