"""Encoders of moments in time: vectors of single moments, and a network that relates them."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor, nn

from leaven.encoders.encoder import Hidden, TokenFeatures, names_within
from leaven.encoders.fronts import MelFront, StepFront, WaveFront
from leaven.encoders.over_time import TimeReader
from leaven.errors import UserError
from leaven.hyperparameters import Depth, Positive, Width
from leaven.modalities import InputSpec, Value
from leaven.modules.frames import Context, Recurrent, context_network, pooled
from leaven.modules.patches import gather_tokens


class Frames(NamedTuple):
    """latents (batch, frames, size): of the moments of samples, each by itself. real (batch, frames) bool: which of them lie within their sample.

    The real ones come first; the others are 0.
    """

    latents: Tensor
    real: Tensor


class Size(NamedTuple):
    """Settings that belong together. convolutions: kernels and strides over the waveform (None: for frames some 20 ms apart)."""

    channels: int
    convolutions: tuple[tuple[int, ...], tuple[int, ...]] | None
    width: int
    depth: int
    heads: int


SIZES = {
    "small": Size(128, None, 192, 3, 3),
    "base": Size(512, ((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)), 768, 12, 12),
}
SOUND_HOP, SIGNAL_HOP = 0.02, 0.1  # seconds


class FrameEncoder(TimeReader):
    """A front end that makes a vector of each moment, and a context that relates them: the shape of CPC, APC, wav2vec, wav2vec 2.0 and HuBERT. The
    feature of a sample is the mean over its moments after the context.

    `frames` gives the moments by themselves, `context` relates them, and `token_features` does both. Layers of the context, from the first to the
    last, are its `layers`. Moments beyond the end of a sample are never read.

    front: of sound, "mel" (log-mel frames) or "wave" (strided convolutions over the waveform, which cost ten times as much); of signals, "steps" (all
    channels of a piece through a linear layer). None chooses mel or steps. context: "transformer", "gru", "lstm" or "none". causal: whether no moment
    sees what follows it. size: "small" or "base" (wav2vec 2.0's), which says what is left out of the following. channels: of convolutions over the
    waveform. kernels, strides: of these convolutions, a kernel spanning one to two strides. width: of a token and of the feature vector. depth:
    layers of the context. heads: of attention. bands: of log-mel frames. hop: seconds between frames, of log-mel frames and of steps (None: 0.02 of
    sound, 0.1 of signals).
    """

    name = "frames"
    offers: ClassVar[tuple[str, ...]] = ("features", "tokens", "patches", "frames")

    def __init__(
        self,
        input: InputSpec,
        *,
        front: Literal["mel", "wave", "steps"] | None = None,
        context: Context = "transformer",
        causal: bool = False,
        size: Literal["small", "base"] = "small",
        channels: Width | None = None,
        kernels: tuple[Width, ...] | None = None,
        strides: tuple[Width, ...] | None = None,
        width: Width | None = None,
        depth: Depth | None = None,
        heads: Width | None = None,
        bands: Width = 40,
        hop: Positive | None = None,
    ):
        usual = SIZES[size]
        width, heads, channels = width or usual.width, heads or usual.heads, channels or usual.channels
        super().__init__(input, width)
        if width % heads:
            raise UserError(f"a width of {width} does not divide into {heads} heads", where="encoder.heads")
        rate, sound = self.rate, len(input.shape) == 1
        front = front or ("mel" if sound else "steps")
        if (front == "steps") == sound:
            raise UserError(f"{input.modality} is not read by the front end {front!r}", hint="leave encoder.front out")
        hop = hop or (SOUND_HOP if sound else SIGNAL_HOP)
        self.front: Any
        if front == "mel":
            self.front = MelFront(rate, bands, hop)
        elif front == "wave":
            usual_kernels, usual_strides = usual.convolutions or convolutions(rate)
            self.front = WaveFront(channels, kernels or usual_kernels, strides or usual_strides)
        else:
            self.front = StepFront(input.shape[0], max(1, round(hop * rate)), width)
        self.sound, self.latent_size = sound, self.front.size
        self.causal = causal
        self.offers = ("features", "tokens", "patches", "frames", *(("causal_frames",) if causal else ()))  # type: ignore[misc]
        self.embed = (
            nn.Sequential(nn.LayerNorm(self.front.size), nn.Linear(self.front.size, width)) if front == "wave" else nn.Linear(self.front.size, width)
        )
        self.network = context_network(context, width, depth or usual.depth, heads, causal)
        self.norm = nn.LayerNorm(width)

    @property
    def token_grid(self) -> tuple[int, int]:
        return 1, self.front.frames(self.input.shape[-1])

    def read(self, x: Value | Tensor) -> tuple[Tensor, Tensor]:
        """What the front end takes: samples, and the lengths of sounds, or where there is signal."""
        return self.in_wave(x) if self.sound else self.in_signal(x)

    def frames(self, x: Value | Tensor) -> Frames:
        """The moments of samples before any context."""
        return Frames(*self.front(*self.read(x)))

    def context(self, frames: Frames, keep: Tensor | None = None, *, hidden: Hidden | None = None) -> TokenFeatures:
        """The moments in their context.

        keep: (batch, kept) int64, the only places that are read. hidden: content of tokens, before the context sees it, that is replaced.
        """
        tokens, real = self.embed(frames.latents), frames.real
        tokens = tokens if hidden is None else hidden.within(tokens)
        if isinstance(self.network, Recurrent):
            if keep is not None:
                tokens, real = gather_tokens(tokens, keep), real.gather(1, keep)
            layers = self.network.outputs(tokens, real)
        else:
            layers = self.network.outputs(tokens, real, keep)
            real = real if keep is None else real.gather(1, keep)
            tokens = tokens if keep is None or layers else gather_tokens(tokens, keep)
        tokens = self.norm(layers[-1] if layers else tokens)
        return TokenFeatures(pooled(tokens, real), tokens, layers)

    def token_features(self, x: Value | Tensor, keep: Tensor | None = None, *, hidden: Hidden | None = None) -> TokenFeatures:
        return self.context(self.frames(x), keep, hidden=hidden)

    @property
    def patch_size(self) -> int:
        return self.front.values

    def patches(self, x: Value | Tensor) -> Float[Tensor, "batch tokens values"]:
        return self.front.raw(*self.read(x))

    def real_tokens(self, x: Value | Tensor) -> Bool[Tensor, "batch tokens"]:
        samples, real = self.read(x)
        return self.front.real(real, samples.shape[-1])

    def forward(self, x: Value | Tensor) -> Float[Tensor, "batch dim"]:
        return self.token_features(x).features

    def depths(self) -> list[list[str]]:
        layers = self.network.layers if isinstance(self.network, Recurrent) else self.network.transformer.layers
        first, last = names_within(self, self.front, self.embed), names_within(self, self.norm)
        blocks = [names_within(self, layer) for layer in layers]
        if isinstance(self.network, Recurrent):
            blocks = [block + names_within(self, norm) for block, norm in zip(blocks, self.network.norms, strict=True)]
        return [first, *blocks[:-1], blocks[-1] + last] if blocks else [first + last]


class CausalFrameEncoder(FrameEncoder):
    """The same with recurrent cells as the context, which see no moment before it comes (van den Oord et al. 2018; Chung et al. 2019).

    context: "gru", "lstm", "transformer" or "none". causal: whether no moment sees what follows it.
    """

    name = "causal_frames"
    offers = ("features", "tokens", "patches", "frames", "causal_frames")

    def __init__(self, input: InputSpec, *, context: Context = "gru", causal: bool = True, **others: Any):
        super().__init__(input, context=context, causal=causal, **others)


def convolutions(rate: float) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Kernels and strides for frames some 20 ms apart."""
    doublings = max(0, round(math.log2(rate * SOUND_HOP / 80)))
    strides = (5, 4, 4, *(2,) * doublings)
    return tuple(2 * stride for stride in strides), strides
