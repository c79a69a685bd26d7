"""Fully connected layers that read the values of a sample one after another."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from leaven.draw import Draw
from leaven.encoders.dense import Dense
from leaven.errors import UserError
from leaven.modalities import InputSpec, Value

ORDERS = ("natural", "random")


class MaskedDense(Dense):
    """Layers in which each unit of degree d sees the first d values of an ordering and no others (Germain et al. 2015, section 4).

    widths: of the layers, the last of which is the feature vector. activation: after every layer, "sigmoid", "tanh" or "relu". orderings: number of
    orderings, each with its own masks. order: the first ordering, "natural" (as values lie in a sample) or "random"; all others are random.
    """

    name = "masked_dense"
    places: Float[Tensor, "orderings values"]

    def __init__(self, input: InputSpec, *, widths: tuple[int, ...] = (500,), activation: str = "relu", orderings: int = 1, order: str = "natural"):
        if orderings < 1 or order not in ORDERS:
            raise UserError(f"orderings must be 1 or more and order one of {', '.join(ORDERS)}, not {orderings} and {order}")
        super().__init__(input, widths=widths, activation=activation, last=activation)
        values = self.layers[0].in_features
        places = Draw("orderings").permutations(values, orderings) + 1.0
        if order == "natural":
            places[0] = torch.arange(values) + 1.0
        self.register_buffer("places", places)  # of each value, from 1; numbers in masks are floats, which multiply faster than truths
        for depth, layer in enumerate(self.layers):
            self.register_buffer(f"degrees{depth}", torch.arange(layer.out_features) * max(1, values - 1) // layer.out_features + 1.0)

    def degrees(self, depth: int) -> Float[Tensor, " units"]:
        """How many values each unit of a layer sees, from 1 to all but one, evenly spread; the last layer is -1."""
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
        """Features are the last layer under the first ordering."""
        return self.hidden(self.values(x), 0)


def follows(after: Float[Tensor, " outputs"], before: Float[Tensor, " inputs"]) -> Float[Tensor, "outputs inputs"]:
    """1 where a whole number is larger than the other, else 0: the mask of a layer whose outputs see what comes before them."""
    return (after[:, None] - before).clamp(0, 1)
