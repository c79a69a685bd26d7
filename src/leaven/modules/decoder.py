"""From an encoder's maps back to the size of a picture."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class Everywhere(nn.Module):
    """Each channel's positions mixed by a matrix of its own (the channel-wise fully connected layer of Pathak et al. 2016, section 3.1).

    Content thus reaches every place of a map, which convolutions carry only a few positions far.
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


@torch.no_grad()
def map_shape(encoder: nn.Module) -> tuple[int, int, int]:
    """(channels, height, width) of an encoder's maps of pictures of its own size."""
    was_training = encoder.training
    channels, height, width = encoder.eval().maps(torch.zeros(1, *encoder.input.shape)).shape[1:]  # type: ignore[operator, union-attr, misc]
    encoder.train(was_training)
    return channels, height, width
