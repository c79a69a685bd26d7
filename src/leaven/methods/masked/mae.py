import torch
from torch import nn

from leaven.methods import Encoder, Method, Outputs, Recipe
from leaven.modules.patches import Transformer, gather_tokens, sincos_positions
from leaven.views.masks import ORDERS, check_mask, real_first


class MAE(Method):
    """Encode a few visible patches, reconstruct the normalised content of the hidden ones (He et al. 2022; of sound, Huang et al. 2022).

    Patches are those of a picture or of a log-mel spectrogram, or moments of a signal. Those beyond the end of a sample are neither seen nor
    reconstructed.

    mask_ratio: share of patches that are hidden. mask: which ones, "random", "blocks", "halves" (all from one side) or "center". normalize_targets:
    subtract each patch's mean and divide by its deviation (section 3). decoder_width: of a token in the decoder, a multiple of 4 and of
    decoder_heads. decoder_depth: its layers. decoder_heads: of its attention.
    """

    paper = "Masked Autoencoders Are Scalable Vision Learners (He et al.)"
    year = 2022
    recipe = Recipe(optimizer="muon", lr=1e-2, batch=256, weight_decay=0.05, warmup=0.1)
    wants = "patches"
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
        self.grid = rows, columns = encoder.token_grid
        self.patches, self.mask_ratio = rows * columns, mask_ratio
        self.visible = self.patches - check_mask(mask, mask_ratio, self.patches)
        self.order = ORDERS[mask]
        self.normalize_targets = normalize_targets
        self.embed = nn.Linear(encoder.dim, decoder_width)
        self.mask_token = nn.Parameter(torch.randn(1, 1, decoder_width) * 0.02)
        self.register_buffer("positions", sincos_positions(rows, columns, decoder_width), persistent=False)
        self.decoder = Transformer(decoder_width, decoder_depth, decoder_heads)
        self.predict = nn.Sequential(nn.LayerNorm(decoder_width), nn.Linear(decoder_width, encoder.patch_size))

    def no_weight_decay(self):
        return {"mask_token"}

    def views(self, batch, draw):
        (sample,) = self.augment(batch["x"], draw)
        order = self.order(draw.child("mask"), len(batch), self.grid, self.patches - self.visible)
        real = self.encoder.real_tokens(sample)
        if real is None:
            return {"sample": sample, "order": order}
        return {"sample": sample, "order": real_first(order.to(real.device), real, self.mask_ratio), "real": real}

    def forward(self, views):
        sample, order, real = views["sample"], views["order"], views.get("real")
        visible, hidden = order[:, : self.visible], order[:, self.visible :]
        tokens = self.embed(self.encoder.tokens(sample, keep=visible))
        shuffled = torch.cat([tokens, self.mask_token.to(tokens.dtype).expand(len(order), hidden.shape[1], -1)], dim=1)
        placed = gather_tokens(shuffled, order.argsort(dim=1)) + self.positions
        decoded = self.predict(self.decoder(placed, None if real is None else real[:, None, None]))
        weights = {} if real is None else {"real": real.gather(1, hidden)}
        return Outputs(prediction=gather_tokens(decoded, hidden), target=gather_tokens(self.targets(sample), hidden), **weights)

    def targets(self, sample):
        """(B, patches, values): what to reconstruct."""
        patches = self.encoder.patches(sample)
        if self.normalize_targets:
            variance, mean = torch.var_mean(patches, dim=2, keepdim=True)
            patches = (patches - mean) / (variance + 1e-6).sqrt()
        return patches

    def loss(self, outputs):
        return {"reconstruction": self.distance(outputs.prediction, outputs)}

    def chance(self, outputs):
        return self.distance(torch.zeros_like(outputs.target), outputs).item()

    def distance(self, prediction, outputs):
        """Mean over samples of each one's mean over hidden patches."""
        squares = (prediction - outputs.target).square()
        if "real" not in outputs:
            return squares.mean()
        return ((squares.mean(2) * outputs.real).sum(1) / outputs.real.sum(1)).mean()
