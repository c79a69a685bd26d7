import torch
from torch import nn

from leaven.methods import Encoder, Method, Outputs, Recipe
from leaven.modules.patches import Transformer, gather_tokens, patchify, sincos_positions
from leaven.views.masks import ORDERS, check_mask


class MAE(Method):
    """Encode a few visible patches, reconstruct the normalised pixels of the hidden ones (He et al. 2022).

    mask_ratio: share of patches that are hidden. mask: which ones, "random", "blocks", "halves" (all from one side) or "center". normalize_targets:
    subtract each patch's mean and divide by its deviation (section 3). decoder_width: of a token in the decoder, a multiple of 4 and of
    decoder_heads. decoder_depth: its layers. decoder_heads: of its attention.
    """

    paper = "Masked Autoencoders Are Scalable Vision Learners (He et al.)"
    year = 2022
    recipe = Recipe(optimizer="muon", lr=1e-2, batch=256, weight_decay=0.05, warmup=0.1)
    modality = "pixels"
    wants = "tokens"
    purpose = "reconstruction"
    loss_over_batch = False

    def __init__(
        self,
        encoder: Encoder,
        *,
        mask_ratio: float = 0.75,
        mask: str = "random",
        normalize_targets: bool = True,
        decoder_width: int = 96,
        decoder_depth: int = 1,
        decoder_heads: int = 3,
    ):
        super().__init__(encoder)
        channels, height, width = encoder.input.shape
        self.patch = encoder.patch
        self.grid = rows, columns = height // self.patch, width // self.patch
        self.patches = rows * columns
        self.visible = self.patches - check_mask(mask, mask_ratio, self.patches)
        self.order = ORDERS[mask]
        self.normalize_targets = normalize_targets
        self.embed = nn.Linear(encoder.dim, decoder_width)
        self.mask_token = nn.Parameter(torch.randn(1, 1, decoder_width) * 0.02)
        self.register_buffer("positions", sincos_positions(rows, columns, decoder_width), persistent=False)
        self.decoder = Transformer(decoder_width, decoder_depth, decoder_heads)
        self.predict = nn.Sequential(nn.LayerNorm(decoder_width), nn.Linear(decoder_width, channels * self.patch**2))

    def no_weight_decay(self):
        return {"mask_token"}

    def views(self, batch, draw):
        (picture,) = self.augment(batch["x"], draw)
        return {"picture": picture, "order": self.order(draw.child("mask"), len(batch), self.grid, self.patches - self.visible)}

    def forward(self, views):
        picture, order = views["picture"], views["order"]
        visible, hidden = order[:, : self.visible], order[:, self.visible :]
        tokens = self.embed(self.encoder.tokens(picture, keep=visible))
        shuffled = torch.cat([tokens, self.mask_token.to(tokens.dtype).expand(len(order), hidden.shape[1], -1)], dim=1)
        decoded = self.predict(self.decoder(gather_tokens(shuffled, order.argsort(dim=1)) + self.positions))
        return Outputs(prediction=gather_tokens(decoded, hidden), target=gather_tokens(self.targets(picture), hidden))

    def targets(self, picture):
        """(B, patches, values): what to reconstruct."""
        patches = patchify(picture.unit(), self.patch)
        if self.normalize_targets:
            variance, mean = torch.var_mean(patches, dim=2, keepdim=True)
            patches = (patches - mean) / (variance + 1e-6).sqrt()
        return patches

    def loss(self, outputs):
        return {"reconstruction": (outputs.prediction - outputs.target).square().mean()}

    def chance(self, outputs):
        return outputs.target.square().mean().item()
