"""A small vision transformer that suits CPUs."""

import math

from jaxtyping import Float
from torch import Tensor, nn

from leaven.encoders.encoder import Hidden, TokenFeatures, names_within
from leaven.encoders.patched import PatchEncoder
from leaven.errors import UserError
from leaven.hyperparameters import Depth, Width
from leaven.modalities import InputSpec, Value
from leaven.modules.patches import Transformer, gather_tokens, patchify, sincos_positions


class ViT(PatchEncoder):
    """Patches, fixed sine-cosine positions, pre-norm transformer layers (Dosovitskiy et al. 2021). The feature is the mean token.

    Pictures of another size than `input`'s are read as well, if they divide into patches: positions are those of their own grid, in whole patches.

    patch: side of a patch in pixels (None: about an eighth of the picture). width: of a token. depth: layers. heads: of attention.
    """

    name = "vit"
    offers = ("features", "tokens", "patches", "pyramid")

    def __init__(self, input: InputSpec, *, patch: Width | None = None, width: Width = 192, depth: Depth = 3, heads: Width = 3):
        super().__init__(input, width)
        channels, height, breadth = input.shape
        self.patch = patch or whole_patch(math.gcd(height, breadth))
        if height % self.patch or breadth % self.patch:
            raise UserError(
                f"pictures of {height} x {breadth} do not divide into patches of {self.patch}", hint="choose --size or --set encoder.patch"
            )
        self.embed = nn.Linear(channels * self.patch**2, width)
        self.register_buffer("positions", sincos_positions(height // self.patch, breadth // self.patch, width), persistent=False)
        self.layers = Transformer(width, depth, heads)
        self.norm = nn.LayerNorm(width)

    positions: Tensor

    def token_features(self, x: Value | Tensor, keep: Tensor | None = None, *, hidden: Hidden | None = None) -> TokenFeatures:
        x = self.normalize(x)
        tokens = self.embed(patchify(x, self.patch))
        tokens = (tokens if hidden is None else hidden.within(tokens)) + self.positions_of(*x.shape[2:])
        if keep is not None:
            tokens = gather_tokens(tokens, keep)
        layers = self.layers.outputs(tokens)
        tokens = self.norm(layers[-1] if layers else tokens)
        return TokenFeatures(tokens.mean(dim=1), tokens, layers)

    def positions_of(self, height: int, breadth: int) -> Tensor:
        if (height, breadth) == self.input.shape[1:]:
            return self.positions
        if height % self.patch or breadth % self.patch:
            raise ValueError(f"{height} x {breadth} does not divide into patches of {self.patch}")
        return sincos_positions(height // self.patch, breadth // self.patch, self.dim).to(self.positions)

    def forward(self, x: Value | Tensor) -> Float[Tensor, "batch dim"]:
        return self.token_features(x).features

    def depths(self) -> list[list[str]]:
        *layers, last = self.layers.layers
        return [names_within(self, *parts) for parts in ((self.embed,), *((layer,) for layer in layers), (last, self.norm))]


def whole_patch(side: int) -> int:
    """The side of patches that a picture's side divides into, as near as possible to eight of them."""
    return min((patch for patch in range(1, side + 1) if side % patch == 0), key=lambda patch: abs(math.log(8 * patch / side)))
