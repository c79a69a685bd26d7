"""Codes from another encoder's output: by a linear layer, or as vectors of a codebook."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Self

from jaxtyping import Float
from torch import Tensor, nn

from leaven.encoders.build import build_encoder, describe_encoder
from leaven.encoders.dense import ACTIVATIONS
from leaven.encoders.encoder import Encoder, map_shape
from leaven.errors import UserError
from leaven.hyperparameters import Width
from leaven.modalities import InputSpec, Tokens, Value
from leaven.modules.codebook import Codebook, straight_through

if TYPE_CHECKING:
    from leaven.modalities.tokenizer import Tokenizer


class Wrapper(Encoder):
    """What lies around another encoder, its `inner`."""

    inner: Any

    @classmethod
    def wrapped(cls, encoder: Encoder, **code: Any) -> Self:
        described = describe_encoder(encoder)
        arguments = {"encoder": described["name"], "options": described["arguments"], **code}
        wrapper = cls(encoder.input, **arguments)
        wrapper.inner, wrapper.arguments = encoder, arguments
        return wrapper

    @property
    def tokenizer(self) -> Tokenizer | None:  # type: ignore[override]
        return self.inner.tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer: Tokenizer | None) -> None:
        self.inner.tokenizer = tokenizer

    def depths(self) -> list[list[str]]:
        inside = [[f"inner.{name}" for name in block] for block in self.inner.depths()]
        around = [name for name, _ in self.named_parameters() if not name.startswith("inner.")]
        return [*inside[:-1], inside[-1] + around]


class Projected(Wrapper):
    """Another encoder's features through a linear layer, as a code of `size` numbers.

    encoder: the other one's name. options: its arguments. size: length of the code. activation: of the code, one that Dense knows.
    """

    name = "projected"
    modalities = ("pixels", "vector", "counts", "text", "signal")

    def __init__(
        self, input: InputSpec, *, encoder: str = "dense", options: dict[str, Any] | None = None, size: Width = 32, activation: str = "linear"
    ):
        if size < 1:
            raise UserError(f"a code has 1 number or more, not {size}")
        super().__init__(input, size)
        self.inner = build_encoder(encoder, input, options)
        self.code = nn.Linear(self.inner.dim, size)
        self.activation = ACTIVATIONS[activation]()

    @classmethod
    def around(cls, encoder: Encoder, size: int, activation: str = "linear") -> Projected:
        """The code after this very encoder, whose weights it shares."""
        return cls.wrapped(encoder, size=size, activation=activation)

    def in_tokens(self, x: Value | Tensor) -> Tokens:
        return self.inner.in_tokens(x)

    def forward(self, x: Value | Tensor) -> Float[Tensor, "batch dim"]:
        return self.activation(self.code(self.inner(x)))


class Quantized(Wrapper):
    """Another encoder's maps, at each place replaced by the nearest vector of a codebook; of plain numbers its features, cut into groups.

    Features are these vectors side by side, not their mean: a sample can then be made from them again.
    encoder: the other one's name. options: its arguments. codes: how many vectors there are. size: their length. groups: of plain numbers.
    """

    name = "quantized"
    modalities = ("pixels", "vector", "counts", "signal")

    def __init__(
        self,
        input: InputSpec,
        *,
        encoder: str = "convnet",
        options: dict[str, Any] | None = None,
        codes: Width = 256,
        size: Width = 16,
        groups: Width = 8,
    ):
        if codes < 2 or min(size, groups) < 1:
            raise UserError(f"codes must be 2 or more, size and groups 1 or more, not {codes}, {size} and {groups}")
        inner = build_encoder(encoder, input, options)
        pictures = input.planar
        channels, *grid = map_shape(inner) if pictures else (inner.dim, groups)
        super().__init__(input, math.prod(grid) * size)
        self.pictures, self.grid, self.size, self.inner = pictures, tuple(grid), size, inner
        self.code = nn.Linear(channels, size if pictures else groups * size)
        self.codebook = Codebook(codes, size)

    @classmethod
    def around(cls, encoder: Encoder, codes: int, size: int, groups: int) -> Quantized:
        """The codebook after this very encoder, whose weights it shares."""
        return cls.wrapped(encoder, codes=codes, size=size, groups=groups)

    def vectors(self, x: Value | Tensor) -> Float[Tensor, "batch places size"]:
        """Before they are replaced."""
        if self.pictures:
            return self.code(self.inner.maps(x).flatten(2).transpose(1, 2))
        return self.code(self.inner(x)).unflatten(1, (-1, self.size))

    def forward(self, x: Value | Tensor) -> Float[Tensor, "batch dim"]:
        vectors = self.vectors(x)
        return straight_through(vectors, self.codebook(self.codebook.nearest(vectors)).to(vectors)).flatten(1)
