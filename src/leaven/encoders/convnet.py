"""A small residual network that suits CPUs: few passes over memory, channel counts that fill matrix units."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from leaven.data.batch import Value
from leaven.data.spec import InputSpec
from leaven.encoders.encoder import Encoder


class Block(nn.Module):
    """Two 3x3 convolutions beside a skip (He et al. 2016; the skip pools before its 1x1, as in ResNet-D)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.skip = nn.Sequential()
        if stride > 1:
            self.skip = nn.Sequential(nn.AvgPool2d(stride, ceil_mode=True), nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu_(self.norm1(self.conv1(x)))
        return F.relu_(self.norm2(self.conv2(y)).add_(self.skip(x)))


class ConvNet(Encoder):
    """A stem that halves the picture (or brings a large one to about 16 x 16), two residual blocks that halve it again, a wide 1x1 layer, pooling.

    The last layer is cheap at a few positions and gives probes many features to choose from.
    width: channels of the stem; the blocks have twice and four times as many. features: length of the feature vector.
    """

    name = "convnet"
    offers = ("features", "maps")

    def __init__(self, input: InputSpec, *, width: int = 48, features: int = 768):
        super().__init__(input, features)
        channels, side = input.shape[0], min(input.shape[1:])
        stride = 1 if side < 16 else 2
        while side / stride > 24:
            stride *= 2
        kernel = max(3, 2 * stride)
        self.stem = nn.Conv2d(channels, width, kernel, stride, (kernel - stride + 1) // 2, bias=False)
        self.stem_norm = nn.BatchNorm2d(width)
        self.blocks = nn.Sequential(Block(width, 2 * width, 2), Block(2 * width, 4 * width, 2))
        self.head, self.head_norm = nn.Conv2d(4 * width, features, 1, bias=False), nn.BatchNorm2d(features)

    def maps(self, x: Value | Tensor) -> Float[Tensor, "batch channels height width"]:
        x = F.relu_(self.stem_norm(self.stem(self.normalize(x))))
        return F.relu_(self.head_norm(self.head(self.blocks(x))))

    def forward(self, x: Value | Tensor) -> Float[Tensor, "batch dim"]:
        return self.maps(x).mean((2, 3))
