"""What every encoder offers, and how it is kept on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from leaven.data.batch import Counts, Pixels, Text, Tokens, Value, Vector
from leaven.data.spec import InputSpec

if TYPE_CHECKING:
    from leaven.data.tokenizer import Tokenizer


class TokenFeatures(NamedTuple):
    """What a transformer makes of a batch: features (batch, dim) of whole samples, tokens (batch, tokens, dim) after the last normalisation, and
    layers, the output of every layer (batch, tokens, dim) from the first to the last, before that normalisation."""

    features: Tensor
    tokens: Tensor
    layers: list[Tensor]


class Encoder(nn.Module):
    """Raw input -> features. It carries its own normalisation, so that it cannot be fed wrongly after export.

    library: whose network it is. name: of one of our own. input: what one sample looks like. dim: length of a feature vector. offers: which of
    features, maps and tokens it has. Pixels may be given as a `Pixels` value or as a tensor (B, C, H, W), uint8 0-255 or float 0-1.
    """

    library: ClassVar[str] = "leaven"
    name: ClassVar[str] = ""
    offers: ClassVar[tuple[str, ...]] = ("features",)
    modalities: ClassVar[tuple[str, ...]] = ("pixels",)
    memory_format: ClassVar[torch.memory_format] = torch.channels_last
    """In which its weights and pictures lie."""

    arguments: dict[str, Any]
    tokenizer: Tokenizer | None = None
    """Of those that read text: by what they take it apart."""

    def __init__(self, input: InputSpec, dim: int):
        super().__init__()
        self.input, self.dim = input, dim
        shape = (1, -1, 1, 1) if input.modality == "pixels" else (1, -1)
        channels, counts = 1 if input.modality == "text" else input.shape[0], input.modality == "counts"
        mean = torch.tensor((0.0,) * channels if counts or not input.mean else input.mean).view(shape)
        std = torch.tensor((1.0,) * channels if counts or not input.std else input.std).view(shape)
        self.register_buffer("scale", 1 / std)
        self.register_buffer("shift", -mean / std)

    scale: Tensor
    shift: Tensor

    def numbers(self, x: Value | Tensor) -> Tensor:
        """The tensor of a value, as it is stored."""
        if isinstance(x, Pixels):
            return x.pixels
        if isinstance(x, Vector):
            return x.numbers
        if isinstance(x, Counts):
            return x.counts
        if isinstance(x, Value):
            raise TypeError(f"{type(self).__name__} reads {self.input.modality}, not {x.modality}")
        return x

    def in_tokens(self, x: Value | Tensor) -> Tokens:
        """Texts in tokens. Numbers (batch, tokens) are their ids; those of padding are left out."""
        if isinstance(x, Tensor):
            return Tokens(x, x != self.input.special.get("pad", -1))
        if isinstance(x, Text):
            if self.tokenizer is None:
                raise TypeError("this encoder has no tokeniser: give it tokens")
            found = self.tokenizer(x)
            return found[torch.arange(len(found))].to(self.scale.device)
        if not isinstance(x, Tokens):
            raise TypeError(f"{type(self).__name__} reads {self.input.modality}, not {x.modality}")
        return x

    def unit(self, x: Value | Tensor) -> Tensor:
        """Raw input as floats: pixels in 0-1, plain numbers and counts as they are."""
        x = self.numbers(x)
        return x.to(self.scale.dtype) / 255 if x.dtype == torch.uint8 else x.to(self.scale.dtype)

    def normalize(self, x: Value | Tensor) -> Tensor:
        """Raw input to zero mean and unit standard deviation over the training split.

        Counts become square roots of their shares, with a mean square of 1 in each sample.
        """
        x = self.numbers(x)
        if self.input.modality == "counts":
            # Auto-encoders of 20 newsgroups found texts with a mAP of 0.29 so (on a fifth of the training part), and 0.26 from log(1 + count).
            counts = x.to(self.scale.dtype)
            return (counts * (counts.shape[1] / counts.sum(1, keepdim=True).clamp(min=1e-12))).sqrt()
        scale = self.scale
        if x.dtype == torch.uint8:
            scale = scale / 255
        x = torch.addcmul(self.shift, x.to(scale.dtype), scale)
        if x.ndim == 4:  # one pass for the layout and for the number format of what follows
            kind = x.device.type
            dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
            x = x.to(dtype, memory_format=self.memory_format)
        return x

    def forward(self, x: Value | Tensor) -> Float[Tensor, "batch dim"]:
        raise NotImplementedError

    def maps(self, x: Value | Tensor) -> Float[Tensor, "batch channels height width"]:
        raise NotImplementedError(f"{type(self).__name__} has no maps")

    def token_features(
        self, x: Value | Tensor, keep: Tensor | None = None, *, hidden: Tensor | None = None, mask_token: Tensor | None = None
    ) -> TokenFeatures:
        """Features of samples and of their tokens in one pass. keep: (batch, kept) int64, the only places that are encoded.

        hidden: (batch, tokens) bool, places whose content is replaced by mask_token (dim,) before positions are added.
        """
        raise NotImplementedError(f"{type(self).__name__} has no tokens")

    def tokens(self, x: Value | Tensor, keep: Tensor | None = None) -> Float[Tensor, "batch tokens dim"]:
        """Token features; `keep` (batch, kept) int64 encodes only these places."""
        return self.token_features(x, keep).tokens

    def depths(self) -> list[list[str]]:
        """Names of the parameters of each block, from the input to the output, every name once: what fine-tuning freezes and slows down by depth.

        One block where the order is not known.
        """
        return [[name for name, _ in self.named_parameters()]]


def fitted(value: Value, shape: tuple[int, ...]) -> Value:
    """Pictures at the side that an encoder was made for; other values unchanged."""
    if isinstance(value, Pixels) and value.pixels.shape[2:] != tuple(shape[1:]):
        return Pixels(F.interpolate(value.unit(), shape[1:], mode="bilinear", antialias=True).clamp(0, 1))
    return value


def names_within(network: nn.Module, *parts: nn.Module) -> list[str]:
    """Names that the parameters of these parts have in the network."""
    inside = {id(parameter) for part in parts for parameter in part.parameters()}
    return [name for name, parameter in network.named_parameters() if id(parameter) in inside]
