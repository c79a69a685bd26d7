"""An encoder and a linear layer after it: a code of any length from any network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor, nn

from leaven.encoders.build import build_encoder, describe_encoder
from leaven.encoders.dense import ACTIVATIONS
from leaven.encoders.encoder import Encoder
from leaven.errors import UserError
from leaven.modalities import InputSpec, Tokens, Value

if TYPE_CHECKING:
    from leaven.modalities.tokenizer import Tokenizer


class Projected(Encoder):
    """Another encoder's features through a linear layer, as a code of `size` numbers.

    encoder: the other one's name. options: its arguments. size: length of the code. activation: of the code, one that Dense knows.
    """

    name = "projected"
    modalities = ("pixels", "vector", "counts", "text")

    def __init__(
        self, input: InputSpec, *, encoder: str = "dense", options: dict[str, Any] | None = None, size: int = 32, activation: str = "linear"
    ):
        super().__init__(input, size)
        self.inner = build_encoder(encoder, input, options)
        self.code = nn.Linear(self.inner.dim, size)
        self.activation = ACTIVATIONS[activation]()

    @classmethod
    def around(cls, encoder: Encoder, size: int, activation: str = "linear") -> Projected:
        """The code after this very encoder, whose weights it shares."""
        if size < 1:
            raise UserError(f"a code has 1 number or more, not {size}")
        described = describe_encoder(encoder)
        arguments = {"encoder": described["name"], "options": described["arguments"], "size": size, "activation": activation}
        projected = cls(encoder.input, **arguments)
        projected.inner, projected.arguments = encoder, arguments
        return projected

    @property
    def tokenizer(self) -> Tokenizer | None:  # type: ignore[override]
        return self.inner.tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer: Tokenizer | None) -> None:
        self.inner.tokenizer = tokenizer

    def in_tokens(self, x: Value | Tensor) -> Tokens:
        return self.inner.in_tokens(x)  # type: ignore[operator]

    def forward(self, x: Value | Tensor) -> Float[Tensor, "batch dim"]:
        return self.activation(self.code(self.inner(x)))

    def depths(self) -> list[list[str]]:
        inside = [[f"inner.{name}" for name in block] for block in self.inner.depths()]
        return [*inside[:-1], [*inside[-1], "code.weight", "code.bias"]]
