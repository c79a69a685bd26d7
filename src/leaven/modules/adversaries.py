"""The two players of adversarial networks, from noise to samples and from samples to a score, and how samples compare with the data."""

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
from leaven.modalities import InputSpec, Value, modality_of
from leaven.modules.decoder import dense_layers


class Generator(nn.Module):
    """Noise, and a class where there are classes, -> samples: numbers in 0-1, by a tanh, where samples are bounded, else numbers in their own units.

    layers: from `noise` numbers, with the class as a one-hot row beside them (Mirza and Osindero 2014), to the shape of a sample.
    """

    def __init__(self, layers: nn.Module, input: InputSpec, noise: int, classes: int = 0):
        super().__init__()
        modality = modality_of(input)
        bounded = modality.bounded
        mean, std = ((0.5,), (0.5,)) if bounded else modality.statistics(input)
        self.layers, self.noise, self.classes = layers, noise, classes
        self.squash = nn.Tanh() if bounded else nn.Identity()
        self.register_buffer("center", torch.as_tensor(mean[0]))
        self.register_buffer("spread", torch.as_tensor(std[0]))

    center: Tensor
    spread: Tensor

    def forward(self, noise: Float[Tensor, "batch noise"], label: Int64[Tensor, " batch"] | None = None) -> Float[Tensor, "batch *shape"]:
        if label is not None:
            noise = torch.cat([noise, F.one_hot(label, self.classes).to(noise)], dim=1)
        return self.center + self.spread * self.squash(self.layers(noise).to(self.center.dtype))


class Discriminator(nn.Module):
    """A score per sample, higher for one that looks more real: a linear layer on the encoder's last maps, or on its features where it has none.

    A class is embedded and multiplied with the same layer, which scores whether the two belong together (Miyato and Koyama 2018, eq. 3). The encoder
    never sees the class, so that it also works on samples without one.
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


def noise_size(wanted: int | None, input: InputSpec) -> int:
    """Numbers from which a sample is made. None: as many as a sample has, at most 64; with many more a generator finds few modes."""
    size = min(64, math.prod(input.shape)) if wanted is None else wanted
    if size < 1:
        raise UserError(f"noise must be 1 or more, not {size}")
    return size


def dense_players(
    input: InputSpec, noise: int | None, generator: tuple[int, ...], discriminator: tuple[int, ...], classes: int = 0
) -> tuple[Generator, Discriminator]:
    """Fully connected layers of these widths, for samples of any shape. noise: see `noise_size`."""
    noise = noise_size(noise, input)
    layers = nn.Sequential(dense_layers((noise + classes, *generator, math.prod(input.shape)), nn.ReLU), nn.Unflatten(1, input.shape))
    return Generator(layers, input, noise, classes), Discriminator(build_encoder("dense", input, {"widths": discriminator}), classes)


def convolutional_players(input: InputSpec, noise: int | None, width: int, classes: int = 0, norm: bool = True) -> tuple[Generator, Discriminator]:
    """The networks of DCGAN (Radford et al. 2016, sections 3 and 4): convolutions with stride instead of pooling, ReLU in the generator and leaky
    ReLU in the discriminator, batch norm except where pictures go in or out, and small weights.

    noise: see `noise_size`. width: channels of the largest maps, which double as the side halves. norm: False for a critic, whose discriminator has
    no batch norm and whose players keep PyTorch's initial weights.
    """
    noise = noise_size(noise, input)
    channels, height, breadth = input.shape
    times = halvings(height, breadth)
    widths = [width * 2**depth for depth in reversed(range(times))]
    smallest = widths[0], height >> times, breadth >> times
    layers: list[nn.Module] = [nn.Linear(noise + classes, math.prod(smallest), bias=False), nn.Unflatten(1, smallest)]
    for before, after in itertools.pairwise(widths):
        layers += [nn.BatchNorm2d(before), nn.ReLU(inplace=True), nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False)]
    layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.ConvTranspose2d(width, channels, 4, 2, 1)]
    generator = Generator(nn.Sequential(*layers), input, noise, classes).to(memory_format=torch.channels_last)
    discriminator = Discriminator(build_encoder("strided", input, {"width": width, "norm": norm}), classes)
    if norm:
        generator.apply(small_weights)
        discriminator.apply(small_weights)
    return generator, discriminator


def usual_players(input: InputSpec, noise: int | None, width: int | None, classes: int, norm: bool = True) -> tuple[Generator, Discriminator]:
    """Convolutions for samples with channels over height and width, else three dense layers each.

    width: channels of the largest maps, or units of the dense layers (None: 64, or 256). noise, norm: see `convolutional_players`.
    """
    if input.planar:
        return convolutional_players(input, noise, width or 64, classes, norm)
    return dense_players(input, noise, (width or 256,) * 3, (width or 256,) * 3, classes)


def small_weights(module: nn.Module) -> None:
    """Weights with a deviation of 0.02 around 0, or around 1 where they scale the output of batch norm."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def deviation(samples: Float[Tensor, "samples values"]) -> float:
    """Root mean squared distance from their mean."""
    return (samples - samples.mean(0)).square().sum(1).mean().sqrt().item()


def energy_distance(a: Float[Tensor, "samples values"], b: Float[Tensor, "others values"]) -> float:
    """1 - (E|a - a'| + E|b - b'|) / (2 E|a - b|): 0 where both are of one distribution, 1 where each is a single point (Szekely and Rizzo 2013).

    Differences of a sample to itself are left out, which keeps it unbiased; it may thus be a little below 0.
    """
    within = sum(torch.cdist(x, x).sum() / (len(x) * (len(x) - 1)) for x in (a, b))
    return (1 - within / (2 * torch.cdist(a, b).mean()).clamp(min=1e-12)).item()
