"""Fully connected layers: the networks of Boltzmann machines, deep auto-encoders and, with masks, of MADE; and a perceptron."""

import itertools
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from leaven.draw import Draw
from leaven.encoders.encoder import Encoder, names_within
from leaven.errors import UserError
from leaven.hyperparameters import Depth, Width
from leaven.modalities import InputSpec, Value
from leaven.modules.heads import mlp

ACTIVATIONS: dict[str, type[nn.Module]] = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU, "linear": nn.Identity}
ORDERS = "natural", "random"


class Dense(Encoder):
    """All values of a sample through fully connected layers, without normalisation between them (Hinton and Salakhutdinov 2006).

    widths: of the layers, the last of which is the feature vector. activation: after every layer but the last, "sigmoid", "tanh" or "relu". last:
    after the last layer, one of these or "linear". raw: read values as they are (pictures in 0-1, counts scaled to the data's mean sum); otherwise
    every input has mean 0 and deviation 1, and counts are read as square roots of their shares.
    """

    name = "dense"
    modalities = ("pixels", "vector", "counts", "signal")

    def __init__(self, input: InputSpec, *, widths: tuple[Width, ...] = (512, 256), activation: str = "relu", last: str = "relu", raw: bool = False):
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
        return (self.modality.modeled(self.unit(x), self.input) if self.raw else self.normalize(x)).flatten(1)

    def from_values(self, values: Float[Tensor, "batch values"]) -> Value:
        """The inverse of `values`: pictures clamped to 0-1, plain numbers, or counts of a text of the data's mean length."""
        numbers = values.unflatten(1, self.input.shape)
        if self.raw:
            return self.modality.of_numbers(numbers, self.input)
        return self.modality.of_standardized(numbers, self.input, self.scale, self.shift)

    def forward(self, x: Value | Tensor) -> Float[Tensor, "batch dim"]:
        hidden = self.values(x)
        for layer in self.layers[:-1]:
            hidden = self.between(layer(hidden))
        return self.last(self.layers[-1](hidden))

    def depths(self) -> list[list[str]]:
        return [names_within(self, layer) for layer in self.layers]


class MaskedDense(Dense):
    """Layers in which each unit of degree d sees the first d values of an ordering and no others (Germain et al. 2015, section 4).

    widths: of the layers, the last of which is the feature vector. activation: after every layer, "sigmoid", "tanh" or "relu". orderings: number of
    orderings, each with its own masks. order: the first ordering, "natural" (as values lie in a sample) or "random"; all others are random.
    """

    name = "masked_dense"
    places: Float[Tensor, "orderings values"]

    def __init__(
        self, input: InputSpec, *, widths: tuple[Width, ...] = (500,), activation: str = "relu", orderings: Depth = 1, order: str = "natural"
    ):
        if order not in ORDERS:
            raise UserError(f"order cannot be {order!r}", hint=f"choose {' or '.join(ORDERS)}")
        super().__init__(input, widths=widths, activation=activation, last=activation)
        values = self.layers[0].in_features
        places = Draw("orderings").permutations(values, orderings) + 1.0
        if order == "natural":
            places[0] = torch.arange(values, device=places.device) + 1.0
        self.register_buffer("places", places)  # of each value, from 1; numbers in masks are floats, which multiply faster than truths
        for depth, layer in enumerate(self.layers):
            self.register_buffer(f"degrees{depth}", spread_degrees(layer.out_features, values))

    def degrees(self, depth: int) -> Float[Tensor, " units"]:
        """Of the units of a layer; the last layer is -1."""
        return self.get_buffer(f"degrees{depth % len(self.layers)}")

    def hidden(self, values: Float[Tensor, "batch values"], ordering: int | Tensor) -> Float[Tensor, "batch dim"]:
        """The last layer under one of the orderings."""
        before = self.places[ordering]
        for depth, layer in enumerate(self.layers):
            after = self.degrees(depth)
            values = self.between(F.linear(values, layer.weight * follows(after + 1, before), layer.bias))
            before = after
        return values

    def forward(self, x: Value | Tensor) -> Float[Tensor, "batch dim"]:
        return self.hidden(self.values(x), 0)


class MLP(Encoder):
    """Linear layers with batch norm and ReLU. width: of a layer and of the feature vector. depth: number of layers."""

    name = "mlp"
    modalities = ("vector", "counts")

    def __init__(self, input: InputSpec, *, width: Width = 256, depth: Depth = 2):
        super().__init__(input, width)
        self.layers = mlp(input.shape[0], *([width] * depth), last_norm=True)

    def forward(self, x: Value | Tensor) -> Float[Tensor, "batch dim"]:
        return self.layers(self.normalize(x))

    def depths(self) -> list[list[str]]:
        triples = (self.layers[start : start + 3] for start in range(0, len(self.layers), 3))  # linear layer, batch norm, ReLU
        return [names_within(self, *triple) for triple in triples]


def follows(after: Float[Tensor, " outputs"], before: Float[Tensor, " inputs"]) -> Float[Tensor, "outputs inputs"]:
    """1 where a whole number is larger than the other, else 0: the mask of a layer whose outputs see what comes before them."""
    return (after[:, None] - before).clamp(0, 1)


def spread_degrees(units: int, values: int) -> Float[Tensor, " units"]:
    """How many values each unit sees, from 1 to all but one, evenly spread."""
    return torch.arange(units) * max(1, values - 1) // units + 1.0
