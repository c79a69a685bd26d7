"""What every encoder offers, and how it is kept on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from leaven.modalities import InputSpec, Modality, Value, modality_of

if TYPE_CHECKING:
    from leaven.modalities.tokenizer import Tokenizer


class TokenFeatures(NamedTuple):
    """What a transformer makes of a batch: features (batch, dim) of whole samples, tokens (batch, tokens, dim) after the last normalisation, and
    layers, the output of every layer (batch, tokens, dim) from the first to the last, before that normalisation."""

    features: Tensor
    tokens: Tensor
    layers: list[Tensor]


class Places(NamedTuple):
    """Features (batch, dim) of whole samples, those of their places (batch, places, dim), and which places (batch, places) bool lie within their
    sample (None: all do)."""

    features: Tensor
    places: Tensor
    real: Tensor | None = None


class Hidden(NamedTuple):
    """Places (batch, tokens) bool whose content is replaced, and the token (dim,) that replaces it."""

    places: Tensor
    token: Tensor

    def within(self, tokens: Tensor) -> Tensor:
        return torch.where(self.places[..., None], self.token.to(tokens.dtype), tokens)


OWN: dict[str, type[Encoder]] = {}
"""Encoders of our own, and of the user's, by their names; each registers itself by being defined."""
LIBRARIES: dict[tuple[str, str], Any] = {}
"""Encoders around the models of another library, by its name and the modality that they read; they register themselves as well."""


class Encoder(nn.Module):
    """Raw input -> features. It carries its own normalisation, so that it cannot be fed wrongly after export.

    library: where the network comes from. name: the name of one of our own. input: what one sample looks like. dim: length of a feature vector.
    offers: which of features, maps, tokens and patches it has, and more that single methods want. Input is a value of its modality, or the tensor
    within, such as pictures (B, C, H, W), uint8 0-255 or float 0-1.
    """

    library: ClassVar[str] = "leaven"
    name: ClassVar[str] = ""
    offers: ClassVar[tuple[str, ...]] = ("features",)
    modalities: ClassVar[tuple[str, ...]] = ("pixels",)
    memory_format: ClassVar[torch.memory_format] = torch.channels_last
    """The memory layout of its weights and of pictures."""

    architecture: ClassVar[tuple[str, ...]] = ()
    """Arguments without which it would have to ask its source what it is."""

    arguments: dict[str, Any]
    modality: Modality
    tokenizer: Tokenizer | None = None
    """Of encoders that read text: what splits it into tokens."""
    role: str | None = None
    """Which of a run's several encoders it is."""

    def __init_subclass__(cls, **keywords: Any):
        super().__init_subclass__(**keywords)
        if cls.__dict__.get("name"):
            OWN[cls.name] = cls
        elif "library" in cls.__dict__:
            LIBRARIES.update({(cls.library, modality): cls for modality in cls.modalities})

    def __init__(self, input: InputSpec, dim: int):
        super().__init__()
        self.input, self.dim = input, dim
        self.modality = modality_of(input)
        mean, std = self.modality.statistics(input)
        self.register_buffer("scale", 1 / std)
        self.register_buffer("shift", -mean / std)

    scale: Tensor
    shift: Tensor

    def numbers(self, x: Value | Tensor) -> Tensor:
        if isinstance(x, Tensor):
            return x
        self.expect(x)
        return x.main

    def expect(self, x: Value) -> None:
        if not isinstance(x, self.modality.values):
            raise TypeError(f"{type(self).__name__} reads {self.input.modality}, not {x.modality}")

    def unit(self, x: Value | Tensor) -> Tensor:
        """Raw input as floats: pixels in 0-1, plain numbers and counts as they are."""
        x = self.numbers(x)
        return x.to(self.scale.dtype) / 255 if x.dtype == torch.uint8 else x.to(self.scale.dtype)

    def normalize(self, x: Value | Tensor) -> Tensor:
        """Raw input at zero mean and unit standard deviation over the training split (see `Modality.standardized`)."""
        x = self.modality.standardized(self.numbers(x), self.scale, self.shift)
        if x.ndim == 4:  # one pass for the layout and for the number format of what follows
            kind = x.device.type
            dtype = torch.get_autocast_dtype(kind) if kind != "meta" and torch.is_autocast_enabled(kind) else x.dtype
            x = x.to(dtype, memory_format=self.memory_format)
        return x

    def forward(self, x: Value | Tensor) -> Float[Tensor, "batch dim"]:
        raise NotImplementedError

    def maps(self, x: Value | Tensor) -> Float[Tensor, "batch channels height width"]:
        raise NotImplementedError(f"{type(self).__name__} has no maps")

    def pyramid(self, x: Value | Tensor) -> list[Float[Tensor, "batch channels height width"]]:
        """Maps at every scale, the finest first, of pictures of any size whose sides divide by `pyramid_step`."""
        raise NotImplementedError(f"{type(self).__name__} has no pyramid")

    @property
    def pyramid_step(self) -> int:
        """By what the sides of pictures must divide for a pyramid."""
        return 32

    def token_features(self, x: Value | Tensor, keep: Tensor | None = None, *, hidden: Hidden | None = None) -> TokenFeatures:
        """Features of samples and of their tokens in one pass. keep: (batch, kept) int64, the only places that are encoded.

        hidden: content that is replaced before positions are added.
        """
        raise NotImplementedError(f"{type(self).__name__} has no tokens")

    @property
    def token_grid(self) -> tuple[int, int]:
        """Rows and columns of the tokens of a sample of its own size; tokens of a sequence lie in one row."""
        raise NotImplementedError(f"{type(self).__name__} has no tokens")

    def real_tokens(self, x: Value | Tensor) -> Bool[Tensor, "batch tokens"] | None:
        """Which tokens lie within their sample; None where all of them always do."""
        return None

    @property
    def patch_size(self) -> int:
        """How many numbers a token is made from, see `patches`."""
        raise NotImplementedError(f"{type(self).__name__} has no patches")

    def patches(self, x: Value | Tensor) -> Float[Tensor, "batch tokens values"]:
        """What each token is made from, as numbers that can be predicted."""
        raise NotImplementedError(f"{type(self).__name__} has no patches")

    def tokens(self, x: Value | Tensor, keep: Tensor | None = None) -> Float[Tensor, "batch tokens dim"]:
        """Token features; `keep` (batch, kept) int64 encodes only these places."""
        return self.token_features(x, keep).tokens

    def with_places(self, x: Value | Tensor) -> Places:
        """Features of samples and of the places that they have: tokens, or the positions of a map. Without either, a sample is one place."""
        if "tokens" in self.offers:
            read = self.token_features(x)
            return Places(read.features, read.tokens, self.real_tokens(x))
        features = self(x)
        return Places(features, features[:, None])

    def kept_arguments(self) -> dict[str, Any]:
        """More arguments, to build the encoder again without its source."""
        return {}

    def depths(self) -> list[list[str]]:
        """The names of each block's parameters, from input to output, every name once: fine-tuning freezes them and scales their rate by depth.

        A single block where the order is not known.
        """
        return [[name for name, _ in self.named_parameters()]]


@torch.no_grad()
def map_shape(encoder: nn.Module) -> tuple[int, int, int]:
    """(channels, height, width) of an encoder's maps of pictures of its own size."""
    was_training = encoder.training
    channels, height, width = encoder.eval().maps(torch.zeros(1, *encoder.input.shape)).shape[1:]  # type: ignore[operator, union-attr, misc]
    encoder.train(was_training)
    return channels, height, width


@torch.no_grad()
def pyramid_shapes(encoder: Encoder) -> list[tuple[int, int]]:
    """(channels, stride) of each map of an encoder's pyramid, the finest first."""
    was_training, side = encoder.training, 2 * encoder.pyramid_step
    maps = encoder.eval().pyramid(torch.zeros(1, encoder.input.shape[0], side, side))
    encoder.train(was_training)
    return [(one.shape[1], side // one.shape[2]) for one in maps]


def names_within(network: nn.Module, *parts: nn.Module) -> list[str]:
    """The names of the parameters of these parts within the network."""
    inside = {id(parameter) for part in parts for parameter in part.parameters()}
    return [name for name, parameter in network.named_parameters() if id(parameter) in inside]
