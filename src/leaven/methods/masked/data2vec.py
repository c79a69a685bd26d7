import torch
from torch import nn
from torch.nn import functional as F

from leaven.encoders import Encoder
from leaven.errors import UserError
from leaven.methods.method import Method, Outputs, Recipe
from leaven.modules import Teacher
from leaven.modules.patches import gather_tokens
from leaven.views import Views
from leaven.views.masks import ORDERS, check_mask, places_to_mask


class Data2Vec(Method):
    """From a masked sample, predict what a slow copy of the encoder makes of the whole one, in its upper layers (Baevski et al. 2022, eq. 1-2).

    mask_ratio: share of the tokens whose content is hidden (0 to 1). mask: which ones, "random", "blocks", "halves" (all from one side) or "center".
    top_layers: how many of the teacher's last layers are averaged. normalize: each layer's outputs before the average, over the "tokens" of a sample
    (instance norm) or the "channels" of a token (layer norm). beta: distance up to which the loss is squared, and beyond it linear. momentum: of the
    teacher at the start and at the end (0 to 1), linear in between. stop_gradient: whether targets come from the teacher, without gradients; those of
    the encoder itself would collapse.
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
        top_layers: int = 4,
        normalize: str = "tokens",
        beta: float = 2.0,
        momentum: tuple[float, float] = (0.99, 0.999),
        stop_gradient: bool = True,
        views: Views | None = None,
    ):
        super().__init__(encoder, views)
        if normalize not in ("tokens", "channels"):
            raise UserError(f"normalize cannot be {normalize!r}", hint="choose tokens or channels")
        if top_layers < 1 or beta <= 0:
            raise UserError(f"top_layers must be 1 or more and beta above 0, not {top_layers} and {beta}")
        if not all(0 <= tau <= 1 for tau in momentum):
            raise UserError(f"momentum must be two numbers from 0 to 1, not {momentum}")
        self.grid = tuple(side // encoder.patch for side in encoder.input.shape[1:])
        self.hidden = check_mask(mask, mask_ratio, self.grid[0] * self.grid[1])
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
        return {"sample": sample, "hidden": order[:, -self.hidden :]}

    def forward(self, views):
        sample, hidden = views["sample"], views["hidden"]
        whole = self.targets(sample)
        tokens = self.encoder.token_features(sample, hidden=places_to_mask(hidden, whole.shape[1]), mask_token=self.mask_token).tokens
        prediction = self.predict(gather_tokens(tokens, hidden))
        return Outputs(prediction=prediction, target=gather_tokens(whole, hidden), embeddings=[whole[:, whole.shape[1] // 2]])

    def targets(self, sample):
        """(B, tokens, dim): the mean of the upper layers' outputs, each normalised."""
        if self.stop_gradient:
            with torch.no_grad():
                layers = self.teacher.network[0].token_features(sample).layers
        else:
            layers = self.encoder.token_features(sample).layers
        return torch.stack([normalized(layer, self.over) for layer in layers[-self.top_layers :]]).mean(dim=0)

    def loss(self, outputs):
        return {"prediction": F.smooth_l1_loss(outputs.prediction, outputs.target, beta=self.beta)}

    def chance(self, outputs):
        return F.smooth_l1_loss(torch.zeros_like(outputs.target), outputs.target, beta=self.beta).item()

    def after_step(self, outputs, progress):
        start, end = self.momentum
        self.teacher.momentum = start + (end - start) * progress
        super().after_step(outputs, progress)


def normalized(tokens, over):
    """Mean 0 and variance 1 over one dimension of (B, tokens, dim); fp32, since layers grow."""
    tokens = tokens.float() if tokens.dtype == torch.bfloat16 else tokens
    variance, mean = torch.var_mean(tokens, dim=over, keepdim=True, correction=0)
    return (tokens - mean) / (variance + 1e-5).sqrt()
