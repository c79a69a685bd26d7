"""A small residual network that suits CPUs: few passes over memory, and matrix products wherever one will do."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from leaven.encoders.encoder import Encoder, Places, names_within
from leaven.hyperparameters import Width
from leaven.modalities import InputSpec, Value


class SideBySideConv2d(nn.Module):
    """A 3x3 convolution, stride 1, padding 1, no bias. Small maps are laid side by side, a column of zeros between them, before convolving.

    The result is the same. The weight gradient of oneDNN's matrix-unit kernels runs along the width of a map, and is some 3 times slower on maps
    of 4 x 4 than on wide ones: 192 channels, 512 maps, forward and backward take 25 ms plain and 11 ms side by side (2 cores with AMX).
    """

    widest, together = 4, 16

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 3, 3))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        if not self.training or x.device.type != "cpu" or width > self.widest or batch % self.together:
            return F.conv2d(x, self.weight, padding=1)
        rows = batch // self.together
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 0, 1)).view(rows, self.together, height, width + 1, channels)
        wide = padded.transpose(1, 2).reshape(rows, height, self.together * (width + 1), channels)
        convolved = F.conv2d(wide.permute(0, 3, 1, 2), self.weight, padding=1).permute(0, 2, 3, 1)
        separate = convolved.reshape(rows, height, self.together, width + 1, -1)[:, :, :, :width]
        return separate.transpose(1, 2).reshape(batch, height, width, -1).permute(0, 3, 1, 2)


class PerPosition(nn.Module):
    """A linear layer at every position of a map, with batch norm and ReLU. `merge` first joins 2 x 2 positions into one (Swin's patch merging).

    The same as a 1x1 (or 2x2, stride 2) convolution, whose weight gradient is several times slower than that of a plain matrix product on CPUs.
    """

    def __init__(self, inputs: int, outputs: int, merge: bool = False):
        super().__init__()
        self.merge = merge
        self.linear, self.norm = nn.Linear(4 * inputs if merge else inputs, outputs, bias=False), nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        if self.merge:
            batch, height, width, channels = x.shape
            x = x.reshape(batch, height // 2, 2, width // 2, 2, channels).transpose(2, 3).reshape(batch, height // 2, width // 2, 4 * channels)
        return F.relu_(self.norm(self.linear(x).permute(0, 3, 1, 2)))


class Residual(nn.Module):
    """3x3 convolutions beside a skip (He et al. 2016)."""

    def __init__(self, channels: int, depth: int):
        super().__init__()
        self.convs = nn.ModuleList(SideBySideConv2d(channels, channels) for _ in range(depth))
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(depth))

    def forward(self, x: Tensor, real: Tensor | None = None) -> Tensor:
        """real: 0 where nothing may reach other places, else 1; it broadcasts to the map."""
        y = x
        for conv, norm in zip(self.convs[:-1], self.norms[:-1], strict=True):
            y = F.relu_(norm(conv(y)))
            y = y if real is None else y * real
        return F.relu_(self.norms[-1](self.convs[-1](y)).add_(x))


class ConvNet(Encoder):
    """A stem that halves the picture (or brings a large one to about 16 x 16), two halvings with a residual block each, a wide layer, pooling.

    The last layer is cheap at a few positions and gives probes many features to choose from.
    width: channels of the stem; the halvings give twice and four times as many. features: length of the feature vector.
    """

    name = "convnet"
    offers = ("features", "maps", "pyramid")

    def __init__(self, input: InputSpec, *, width: Width = 48, features: Width = 512):
        super().__init__(input, features)
        channels, side = input.shape[0], min(input.shape[1:])
        stride = 1 if side < 16 else 2
        while side / stride > 24:
            stride *= 2
        kernel = max(3, 2 * stride)
        self.stem = nn.Conv2d(channels, width, kernel, stride, (kernel - stride + 1) // 2, bias=False)
        self.stem_norm = nn.BatchNorm2d(width)
        self.blocks = nn.Sequential(
            PerPosition(width, 2 * width, merge=True),
            Residual(2 * width, depth=1),
            PerPosition(2 * width, 4 * width, merge=True),
            Residual(4 * width, depth=2),
        )
        self.head = PerPosition(4 * width, features)

    def maps(self, x: Value | Tensor) -> Float[Tensor, "batch channels height width"]:
        x = F.relu_(self.stem_norm(self.stem(self.normalize(x))))
        uneven = -x.shape[2] % 4, -x.shape[3] % 4
        if any(uneven):
            x = F.pad(x, (0, uneven[1], 0, uneven[0]))
        return self.head(self.blocks(x))

    @property
    def pyramid_step(self) -> int:
        return 4 * self.stem.stride[0]

    def pyramid(self, x: Value | Tensor) -> list[Tensor]:
        fine = F.relu_(self.stem_norm(self.stem(self.normalize(x))))
        middle = self.blocks[:2](fine)
        return [fine, middle, self.head(self.blocks[2:](middle))]

    def forward(self, x: Value | Tensor) -> Float[Tensor, "batch dim"]:
        return self.with_places(x).features

    def with_places(self, x: Value | Tensor) -> Places:
        maps = self.maps(x)
        features = maps.sum((2, 3)) / (maps.shape[2] * maps.shape[3])  # a mean's backward would divide every position instead
        return Places(features, maps.flatten(2).mT)

    def depths(self) -> list[list[str]]:
        return [names_within(self, *parts) for parts in ((self.stem, self.stem_norm), *((block,) for block in self.blocks), (self.head,))]
