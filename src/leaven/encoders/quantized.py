"""An encoder whose output is made of vectors of a codebook."""

from __future__ import annotations

import math
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from leaven.encoders.build import build_encoder, describe_encoder
from leaven.encoders.encoder import Encoder, map_shape, names_within
from leaven.errors import UserError
from leaven.modalities import InputSpec, Value
from leaven.modules.codebook import Codebook, straight_through


class Quantized(Encoder):
    """Another encoder's maps, at each place replaced by the nearest vector of a codebook; of plain numbers its features, cut into groups.

    Features are these vectors side by side, not their mean: a sample can then be made from them again.
    encoder: the other one's name. options: its arguments. codes: how many vectors there are. size: their length. groups: of plain numbers.
    """

    name = "quantized"
    modalities = ("pixels", "vector", "counts")

    def __init__(
        self, input: InputSpec, *, encoder: str = "convnet", options: dict[str, Any] | None = None, codes: int = 256, size: int = 16, groups: int = 8
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
        described = describe_encoder(encoder)
        arguments = {"encoder": described["name"], "options": described["arguments"], "codes": codes, "size": size, "groups": groups}
        quantized = cls(encoder.input, **arguments)
        quantized.inner, quantized.arguments = encoder, arguments
        return quantized

    def vectors(self, x: Value | Tensor) -> Float[Tensor, "batch places size"]:
        """Before they are replaced."""
        if self.pictures:
            return self.code(self.inner.maps(x).flatten(2).transpose(1, 2))
        return self.code(self.inner(x)).unflatten(1, (-1, self.size))

    def forward(self, x: Value | Tensor) -> Float[Tensor, "batch dim"]:
        vectors = self.vectors(x)
        return straight_through(vectors, self.codebook(self.codebook.nearest(vectors)).to(vectors)).flatten(1)

    def depths(self) -> list[list[str]]:
        inside = [[f"inner.{name}" for name in block] for block in self.inner.depths()]
        return [*inside[:-1], [*inside[-1], *names_within(self, self.code, self.codebook)]]
