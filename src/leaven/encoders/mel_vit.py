"""A small vision transformer over patches of the log-mel spectrogram."""

from jaxtyping import Bool, Float
from torch import Tensor, nn

from leaven.encoders.encoder import Hidden, TokenFeatures, names_within
from leaven.encoders.log_mel import LogMel
from leaven.encoders.over_time import TimeReader
from leaven.errors import UserError
from leaven.hyperparameters import Depth, Width
from leaven.modalities import InputSpec, Value
from leaven.modules.frames import pooled
from leaven.modules.patches import Transformer, gather_tokens, patchify, sincos_positions


class MelViT(TimeReader):
    """Patches of bands and frames, 10 ms apart, as pictures are read by a vision transformer (Gong et al. 2021; Huang et al. 2022). The feature is
    the mean token of a sound.

    Tokens lie row by row, from the lowest bands to the highest. Sounds of any length are read; patches beyond the end of one are seen by none.

    bands: of the mel scale, a multiple of the patch. patch: side of a patch, in bands and in frames. width: of a token. depth: layers. heads: of
    attention.
    """

    name = "mel_vit"
    modalities = ("wave",)
    offers = ("features", "tokens", "patches")

    def __init__(self, input: InputSpec, *, bands: Width = 48, patch: Width = 8, width: Width = 192, depth: Depth = 3, heads: Width = 3):
        super().__init__(input, width)
        if bands % patch:
            raise UserError(f"{bands} bands do not divide into patches of {patch}", where="encoder.bands")
        if width % 4 or width % heads:
            raise UserError(f"a width of {width} is no multiple of 4 and of {heads} heads", where="encoder.width")
        self.front, self.patch = LogMel(self.rate, bands), patch
        self.embed = nn.Linear(patch**2, width)
        self.layers = Transformer(width, depth, heads)
        self.norm = nn.LayerNorm(width)

    @property
    def token_grid(self) -> tuple[int, int]:
        return self.front.bands // self.patch, -(-self.front.frames(self.input.shape[0]) // self.patch)

    def spectrogram(self, x: Value | Tensor) -> tuple[Float[Tensor, "batch 1 bands frames"], Bool[Tensor, "batch tokens"]]:
        """Log-mel frames, filled up to whole patches, and which patches hold sound."""
        frames, real = self.front(*self.in_wave(x))
        frames = nn.functional.pad(frames, (0, -frames.shape[2] % self.patch))
        return frames[:, None], real[:, :: self.patch].repeat(1, self.token_grid[0])

    @property
    def patch_size(self) -> int:
        return self.patch**2

    def patches(self, x: Value | Tensor) -> Float[Tensor, "batch tokens values"]:
        return patchify(self.spectrogram(x)[0], self.patch)

    def real_tokens(self, x: Value | Tensor) -> Bool[Tensor, "batch tokens"]:
        samples, lengths = self.in_wave(x)
        return self.front.real(lengths, self.front.frames(samples.shape[1]))[:, :: self.patch].repeat(1, self.token_grid[0])

    def token_features(self, x: Value | Tensor, keep: Tensor | None = None, *, hidden: Hidden | None = None) -> TokenFeatures:
        spectrogram, real = self.spectrogram(x)
        tokens = self.embed(patchify(spectrogram, self.patch))
        rows = self.token_grid[0]
        positions = sincos_positions(rows, tokens.shape[1] // rows, self.dim).to(tokens)
        tokens = (tokens if hidden is None else hidden.within(tokens)) + positions
        if keep is not None:
            tokens, real = gather_tokens(tokens, keep), real.gather(1, keep)
        layers = self.layers.outputs(tokens, real[:, None, None])
        tokens = self.norm(layers[-1] if layers else tokens)
        return TokenFeatures(pooled(tokens, real), tokens, layers)

    def forward(self, x: Value | Tensor) -> Float[Tensor, "batch dim"]:
        return self.token_features(x).features

    def depths(self) -> list[list[str]]:
        *layers, last = self.layers.layers
        return [names_within(self, *parts) for parts in ((self.embed,), *((layer,) for layer in layers), (last, self.norm))]
