"""Fully connected layers: the networks of Boltzmann machines and deep auto-encoders."""

import itertools
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leaven.encoders.encoder import Encoder, names_within
from leaven.errors import UserError
from leaven.modalities import InputSpec, Value

ACTIVATIONS: dict[str, type[nn.Module]] = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU, "linear": nn.Identity}


class Dense(Encoder):
    """All values of a sample through fully connected layers, without normalisation between them (Hinton and Salakhutdinov 2006).

    widths: of the layers, the last of which is the feature vector. activation: after every layer but the last, "sigmoid", "tanh" or "relu". last:
    after the last layer, one of these or "linear". raw: read values as they are (pictures in 0-1, counts scaled to the data's mean sum); otherwise
    every input has mean 0 and deviation 1, and counts are read as square roots of their shares.
    """

    name = "dense"
    modalities = ("pixels", "vector", "counts")

    def __init__(self, input: InputSpec, *, widths: tuple[int, ...] = (512, 256), activation: str = "relu", last: str = "relu", raw: bool = False):
        if not widths or min(widths) < 1:
            raise UserError(f"encoder.widths must be one or more whole numbers from 1, not {widths}")
        for name in (activation, last):
            if name not in ACTIVATIONS:
                raise UserError(f"no activation is named {name!r}", hint=f"choose {', '.join(ACTIVATIONS)}")
        super().__init__(input, widths[-1])
        self.raw = raw
        sizes = [torch.Size(input.shape).numel(), *widths]
        self.layers: Any = nn.ModuleList(nn.Linear(before, after) for before, after in itertools.pairwise(sizes))
        self.between, self.last = ACTIVATIONS[activation](), ACTIVATIONS[last]()

    def values(self, x: Value | Tensor) -> Float[Tensor, "batch values"]:
        """What the first layer reads."""
        return (self.modality.modeled(self.unit(x), self.input) if self.raw else self.normalize(x)).flatten(1)

    def from_values(self, values: Float[Tensor, "batch values"]) -> Value:
        """The inverse of `values`: pictures clamped to 0-1, plain numbers, or counts of a text of the data's mean length."""
        numbers = values.unflatten(1, self.input.shape)
        if self.raw:
            return self.modality.of_numbers(numbers)
        return self.modality.of_standardized(numbers, self.input, self.scale, self.shift)

    def forward(self, x: Value | Tensor) -> Float[Tensor, "batch dim"]:
        hidden = self.values(x)
        for layer in self.layers[:-1]:
            hidden = self.between(layer(hidden))
        return self.last(self.layers[-1](hidden))

    def depths(self) -> list[list[str]]:
        return [names_within(self, layer) for layer in self.layers]
