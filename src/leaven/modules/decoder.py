"""From an encoder's maps or codes back to samples."""

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from leaven.encoders.dense import Dense, follows, spread_degrees
from leaven.encoders.encoder import Encoder
from leaven.encoders.projected import Projected
from leaven.modules.heads import mlp

LARGEST_MAP = 7  # a code is first spread over a map whose side is at most this, and doubles to that of the picture


class Everywhere(nn.Module):
    """The positions of each channel mixed by a separate matrix (the channel-wise fully connected layer of Pathak et al. 2016, section 3.1).

    Content thus reaches every place of a map, while convolutions only carry it a few positions.
    """

    def __init__(self, channels: int, positions: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, positions, positions))
        nn.init.trunc_normal_(self.weight, std=positions**-0.5)

    def forward(self, maps: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        mixed = torch.bmm(maps.flatten(2).transpose(0, 1), self.weight.to(maps.dtype))
        return mixed.transpose(0, 1).reshape(maps.shape)


class MapDecoder(nn.Module):
    """Maps -> `outputs` values at each place of a grid of `size` = (height, width), by convolutions that each double the side.

    maps: (channels, height, width) of what it reads. width: channels after the first layer, halved with every doubling down to 16. mixes: whether
    positions are first mixed over the whole map. Where sides do not double to `size`, the result is resized bilinearly.
    """

    def __init__(self, maps: tuple[int, int, int], outputs: int, size: tuple[int, int], *, width: int = 128, mixes: bool = False):
        super().__init__()
        channels, height, breadth = maps
        self.size = size
        layers: list[nn.Module] = [Everywhere(channels, height * breadth), nn.ReLU(inplace=True)] if mixes else []
        layers += [nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        for _ in range(max(0, round(math.log2(size[0] / height)))):
            narrower = max(width // 2, min(width, 16))
            layers += [nn.ConvTranspose2d(width, narrower, 4, 2, 1, bias=False), nn.BatchNorm2d(narrower), nn.ReLU(inplace=True)]
            width = narrower
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, outputs, 3, padding=1))

    def forward(self, maps: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch outputs new_height new_width"]:
        decoded = self.layers(maps)
        return decoded if decoded.shape[2:] == self.size else F.interpolate(decoded, self.size, mode="bilinear")


class PictureDecoder(nn.Module):
    """Codes -> `per_value` numbers per value of a picture of `shape`: a linear layer to a small map, then a `MapDecoder` (Radford et al. 2016)."""

    def __init__(self, size: int, shape: tuple[int, int, int], per_value: int = 1, *, width: int = 128):
        super().__init__()
        channels, *sides = shape
        self.per_value = per_value
        height, breadth = (halved(side, max(sides)) for side in sides)
        maps = width // 2, height, breadth
        self.spread = nn.Sequential(nn.Linear(size, math.prod(maps)), nn.ReLU(inplace=True), nn.Unflatten(1, maps))
        self.grow = MapDecoder(maps, channels * per_value, (sides[0], sides[1]), width=width)

    def forward(self, codes: Float[Tensor, "batch size"]) -> Float[Tensor, "batch values per_value"]:
        return self.grow(self.spread(codes)).unflatten(1, (-1, self.per_value)).movedim(2, -1).flatten(1, 3)


class ValueDecoder(nn.Module):
    """Codes through fully connected layers -> `per_value` numbers for each of `values` values."""

    def __init__(self, layers: nn.Sequential, per_value: int = 1):
        super().__init__()
        self.layers, self.per_value = layers, per_value

    def forward(self, codes: Float[Tensor, "batch size"]) -> Float[Tensor, "batch values per_value"]:
        return self.layers(codes).unflatten(1, (-1, self.per_value))


class MaskedDecoder(nn.Module):
    """Codes, and the values themselves, -> `per_value` numbers for each value: from the code and the values before it (a MADE given a code).

    width: of its hidden layer, whose units see between one and all but one of the values.
    """

    def __init__(self, size: int, values: int, per_value: int = 1, *, width: int = 500):
        super().__init__()
        self.per_value = per_value
        self.read, self.told, self.write = nn.Linear(values, width), nn.Linear(size, width), nn.Linear(width, values * per_value)
        self.own = nn.Linear(size, values * per_value, bias=False)
        places, degrees = torch.arange(values) + 1.0, spread_degrees(width, values)
        self.register_buffer("reads", follows(degrees + 1, places), persistent=False)
        self.register_buffer("writes", follows(places.repeat_interleave(per_value), degrees), persistent=False)

    reads: Tensor
    writes: Tensor

    def forward(self, codes: Float[Tensor, "batch size"], values: Float[Tensor, "batch values"]) -> Float[Tensor, "batch values per_value"]:
        hidden = F.relu(F.linear(values, self.read.weight * self.reads, self.read.bias) + self.told(codes))
        outputs = F.linear(hidden, self.write.weight * self.writes, self.write.bias) + self.own(codes)
        return outputs.unflatten(1, (-1, self.per_value))


def halved(side: int, largest: int) -> int:
    """This side, halved (and rounded up) as often as the largest side must be to reach `LARGEST_MAP`."""
    while largest > LARGEST_MAP:
        side, largest = -(-side // 2), -(-largest // 2)
    return side


def dense_layers(widths: tuple[int, ...], activation: type[nn.Module]) -> nn.Sequential:
    """Linear layers from widths[0] to widths[-1], with the activation between them."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1])


def linear_layers(network: nn.Module) -> list[nn.Linear]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Linear)]


def code_decoder(encoder: Encoder, size: int, per_value: int = 1) -> nn.Module:
    """From codes (batch, size) to the outputs that a likelihood takes, (batch, values, per_value): the opposite of the encoder.

    Convolutions for pictures, a mirrored stack of layers where the encoder is dense or the input plain numbers. Values are in the order of
    `flatten(1)` of a sample.
    """
    inner = encoder.inner if isinstance(encoder, Projected) else encoder
    shape = inner.input.shape
    values = math.prod(shape) * per_value
    widths = [layer.out_features for layer in linear_layers(inner)]
    if isinstance(inner, Dense):
        if inner is encoder and size == widths[-1]:  # its last layer is the code
            widths.pop()
        return ValueDecoder(dense_layers((size, *reversed(widths), values), type(inner.between)), per_value)
    if inner.input.planar:
        return PictureDecoder(size, (shape[0], shape[1], shape[2]), per_value)
    return ValueDecoder(mlp(size, *reversed(widths), values), per_value)
