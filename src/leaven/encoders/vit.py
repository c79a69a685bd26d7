"""A small vision transformer that suits CPUs."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leaven.data.batch import Value
from leaven.data.spec import InputSpec
from leaven.encoders.encoder import Encoder, names_within
from leaven.errors import UserError
from leaven.modules.patches import gather_tokens, patchify, sincos_positions
from leaven.modules.transformer import Transformer


class ViT(Encoder):
    """Patches, fixed sine-cosine positions, pre-norm transformer layers (Dosovitskiy et al. 2021). The feature is the mean token.

    patch: side of a patch in pixels (None: an eighth of the picture). width: of a token. depth: layers. heads: of attention.
    """

    name = "vit"
    offers = ("features", "tokens")

    def __init__(self, input: InputSpec, *, patch: int | None = None, width: int = 192, depth: int = 6, heads: int = 3):
        super().__init__(input, width)
        channels, height, breadth = input.shape
        self.patch = patch or max(1, min(height, breadth) // 8)
        if height % self.patch or breadth % self.patch:
            raise UserError(
                f"pictures of {height} x {breadth} do not divide into patches of {self.patch}", hint="choose --size or --set encoder.patch"
            )
        self.embed = nn.Linear(channels * self.patch**2, width)
        self.register_buffer("positions", sincos_positions(height // self.patch, breadth // self.patch, width), persistent=False)
        self.layers = Transformer(width, depth, heads)
        self.norm = nn.LayerNorm(width)

    positions: Tensor

    def tokens(self, x: Value | Tensor, keep: Tensor | None = None) -> Float[Tensor, "batch tokens dim"]:
        tokens = self.embed(patchify(self.normalize(x), self.patch)) + self.positions
        if keep is not None:
            tokens = gather_tokens(tokens, keep)
        return self.norm(self.layers(tokens))

    def forward(self, x: Value | Tensor) -> Float[Tensor, "batch dim"]:
        return torch.mean(self.tokens(x), dim=1)

    def depths(self) -> list[list[str]]:
        *layers, last = self.layers.layers
        return [names_within(self, *parts) for parts in ((self.embed,), *((layer,) for layer in layers), (last, self.norm))]
