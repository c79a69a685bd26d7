"""A perceptron for plain numbers."""

from jaxtyping import Float
from torch import Tensor

from leaven.data.batch import Value
from leaven.data.spec import InputSpec
from leaven.encoders.encoder import Encoder
from leaven.modules.heads import mlp


class MLP(Encoder):
    """Linear layers with batch norm and ReLU. width: of a layer and of the feature vector. depth: number of layers."""

    name = "mlp"
    modalities = ("vector",)

    def __init__(self, input: InputSpec, *, width: int = 256, depth: int = 2):
        super().__init__(input, width)
        self.layers = mlp(input.shape[0], *([width] * depth), last_norm=True)

    def forward(self, x: Value | Tensor) -> Float[Tensor, "batch dim"]:
        return self.layers(self.normalize(x))
