"""The two players of adversarial networks: noise to samples, and samples to a number that says how real they look."""

import itertools
import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from leaven.encoders import build_encoder
from leaven.encoders.encoder import Encoder, map_shape
from leaven.encoders.strided import halvings
from leaven.errors import UserError
from leaven.modalities import InputSpec, Value
from leaven.modules.decoder import dense_layers

MOST_NOISE = 64


def noise_size(asked: int | None, input: InputSpec) -> int:
    """Numbers that a sample is made of: as many as it has, at most 64, if none are asked for. With many more a generator finds few modes.

    UserError for less than one.
    """
    size = min(MOST_NOISE, math.prod(input.shape)) if asked is None else asked
    if size < 1:
        raise UserError(f"noise must be 1 or more, not {size}")
    return size


class Generator(nn.Module):
    """Noise, and a class where there are classes, -> samples: pictures in 0-1, by a tanh, or plain numbers in their own units.

    layers: from noise, with the class as a one-hot row beside it (Mirza and Osindero 2014), to the shape of a sample. UserError for other samples.
    """

    def __init__(self, layers: nn.Module, input: InputSpec, classes: int = 0):
        super().__init__()
        if input.modality not in ("pixels", "vector"):
            raise UserError(f"a generator makes pictures or plain numbers, and this data is {input.modality}")
        pictures = input.modality == "pixels"
        self.layers, self.classes = layers, classes
        self.squash = nn.Tanh() if pictures else nn.Identity()
        self.register_buffer("center", torch.tensor(0.5 if pictures else input.mean or 0.0))
        self.register_buffer("spread", torch.tensor(0.5 if pictures else input.std or 1.0))

    center: Tensor
    spread: Tensor

    def forward(self, noise: Float[Tensor, "batch noise"], label: Int64[Tensor, " batch"] | None = None) -> Float[Tensor, "batch *shape"]:
        if label is not None:
            noise = torch.cat([noise, F.one_hot(label, self.classes).to(noise)], dim=1)
        return self.center + self.spread * self.squash(self.layers(noise).to(self.center.dtype))


class Discriminator(nn.Module):
    """A number for each sample, the higher the more real it looks: a linear layer on the encoder's last maps, or on its features where it has none.

    A class is embedded and projected on the same layer, which judges whether the two belong together (Miyato and Koyama 2018, eq. 3); the encoder
    itself never sees it, and so can be kept for samples without one.
    """

    def __init__(self, encoder: Encoder, classes: int = 0):
        super().__init__()
        self.encoder, self.mapped = encoder, "maps" in encoder.offers
        width = math.prod(map_shape(encoder)) if self.mapped else encoder.dim
        self.score = nn.Linear(width, 1)
        self.classes = nn.Embedding(classes, width) if classes else None
        if self.classes is not None:
            nn.init.normal_(self.classes.weight, std=width**-0.5)

    def forward(self, x: Value | Tensor, label: Int64[Tensor, " batch"] | None = None) -> Float[Tensor, " batch"]:
        last = self.encoder.maps(x).flatten(1) if self.mapped else self.encoder(x)
        score = self.score(last)[:, 0]
        return score if self.classes is None else score + (self.classes(label) * last).sum(1)


def dense_players(
    input: InputSpec, noise: int, generator: tuple[int, ...], discriminator: tuple[int, ...], classes: int = 0
) -> tuple[Generator, Discriminator]:
    """Fully connected layers of these widths, for samples of any shape."""
    layers = dense_layers((noise + classes, *generator, math.prod(input.shape)), nn.ReLU)
    made = Generator(nn.Sequential(layers, nn.Unflatten(1, input.shape)), input, classes)
    return made, Discriminator(build_encoder("dense", input, {"widths": discriminator}), classes)


def convolutional_players(input: InputSpec, noise: int, width: int, classes: int = 0, norm: bool = True) -> tuple[Generator, Discriminator]:
    """The networks of DCGAN (Radford et al. 2016, section 3): convolutions with stride instead of pooling, ReLU in the generator and leaky ReLU in
    the discriminator, batch norm but where pictures go in or out.

    width: channels of the largest maps, which double as their side halves. norm: whether the discriminator has batch norm.
    """
    channels, height, breadth = input.shape
    times = halvings(height, breadth)
    widths = [width * 2**depth for depth in reversed(range(times))]
    smallest = widths[0], height >> times, breadth >> times
    layers: list[nn.Module] = [nn.Linear(noise + classes, math.prod(smallest), bias=False), nn.Unflatten(1, smallest)]
    for before, after in itertools.pairwise(widths):
        layers += [nn.BatchNorm2d(before), nn.ReLU(inplace=True), nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False)]
    layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.ConvTranspose2d(width, channels, 4, 2, 1)]
    made = Generator(nn.Sequential(*layers), input, classes).to(memory_format=torch.channels_last)
    return made, Discriminator(build_encoder("strided", input, {"width": width, "norm": norm}), classes)
