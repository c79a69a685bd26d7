"""A perceptron for plain numbers and counts."""

from jaxtyping import Float
from torch import Tensor, nn

from leaven.encoders.encoder import Encoder, names_within
from leaven.modalities import InputSpec, Value
from leaven.modules.heads import mlp


class MLP(Encoder):
    """Linear layers with batch norm and ReLU. width: of a layer and of the feature vector. depth: number of layers."""

    name = "mlp"
    modalities = ("vector", "counts")

    def __init__(self, input: InputSpec, *, width: int = 256, depth: int = 2):
        super().__init__(input, width)
        self.layers = mlp(input.shape[0], *([width] * depth), last_norm=True)

    def forward(self, x: Value | Tensor) -> Float[Tensor, "batch dim"]:
        return self.layers(self.normalize(x))

    def depths(self) -> list[list[str]]:
        blocks: list[list[nn.Module]] = []
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                blocks.append([])
            blocks[-1].append(layer)
        return [names_within(self, *block) for block in blocks]
