"""How likely a sample is under what a decoder gives for each of its values."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from leaven.data.batch import Pixels, Value, Vector
from leaven.data.draw import Draw
from leaven.data.spec import InputSpec
from leaven.errors import UserError

NEARLY_BINARY = 0.75  # of the largest variance that numbers of 0-1 with their mean can have; 0.84 in MNIST, 0.61 in FashionMNIST, 0.25 in cifar10


class Likelihood(nn.Module):
    """p(x | outputs), independent for each value of a sample. All sums are over the values of a sample, in nats: never means.

    per_value: how many outputs a decoder gives for each value. Outputs are (batch, values, per_value), targets (batch, values).
    """

    name: ClassVar[str]
    per_value: int = 1

    def __init__(self, input: InputSpec):
        super().__init__()
        self.input = input
        self.values = math.prod(input.shape)

    @abstractmethod
    def observe(self, x: Value, draw: Draw | None = None) -> Float[Tensor, "batch values"]:
        """Samples as what the likelihood is of. A draw makes what is random in that new; without, it is the same at every call."""

    @abstractmethod
    def log_prob(self, outputs: Float[Tensor, "batch values per_value"], target: Float[Tensor, "batch values"]) -> Float[Tensor, " batch"]:
        """log p(target | outputs), summed over the values of each sample."""

    @abstractmethod
    def mean(self, outputs: Float[Tensor, "batch values per_value"]) -> Float[Tensor, "batch values"]:
        """The expected target."""

    @abstractmethod
    def sample(self, outputs: Float[Tensor, "batch values per_value"], draw: Draw) -> Float[Tensor, "batch values"]:
        """A random target."""

    @abstractmethod
    def value(self, target: Float[Tensor, "batch values"]) -> Value:
        """Targets as samples of the input's kind: pictures in 0-1, or plain numbers."""

    def shaped(self, numbers: Tensor) -> Value:
        if self.input.modality == "pixels":
            return Pixels(numbers.unflatten(1, self.input.shape).clamp(0, 1))
        return Vector(numbers)


class Bernoulli(Likelihood):
    """Binary values. Numbers between 0 and 1 are the probabilities of a 1, drawn anew for each step (Salakhutdinov and Murray 2008, section 5.2).

    Raises UserError for numbers outside 0-1. outputs: logits.
    """

    name = "bernoulli"

    def observe(self, x: Value, draw: Draw | None = None) -> Float[Tensor, "batch values"]:
        numbers = flat(x)
        if numbers.numel() and (numbers.min() < 0 or numbers.max() > 1):
            raise UserError(
                f"a Bernoulli likelihood needs numbers from 0 to 1, and these reach from {numbers.min():.3g} to {numbers.max():.3g}",
                hint="use --set likelihood=gaussian",
            )
        draw = draw or Draw("binarized", device=numbers.device)
        return (draw.uniform(*numbers.shape).to(numbers.device) < numbers).float()

    def log_prob(self, outputs: Float[Tensor, "batch values per_value"], target: Float[Tensor, "batch values"]) -> Float[Tensor, " batch"]:
        return -F.binary_cross_entropy_with_logits(outputs[..., 0], target, reduction="none").sum(1)

    def mean(self, outputs: Float[Tensor, "batch values per_value"]) -> Float[Tensor, "batch values"]:
        return outputs[..., 0].sigmoid()

    def sample(self, outputs: Float[Tensor, "batch values per_value"], draw: Draw) -> Float[Tensor, "batch values"]:
        return (draw.uniform(*outputs.shape[:2]).to(outputs.device) < self.mean(outputs)).float()

    def value(self, target: Float[Tensor, "batch values"]) -> Value:
        return self.shaped(target)


class Gaussian(Likelihood):
    """Real values around a mean, with one learned deviation for all of them (Rybkin et al. 2021, section 3).

    Densities are those of pixels in 0-1, and of plain numbers in their own units divided by their deviations. outputs: means.
    """

    name = "gaussian"
    smallest = -math.log(256)  # pixels are no more exact than that, and a smaller deviation would be rewarded without end

    def __init__(self, input: InputSpec):
        super().__init__(input)
        self.log_deviation = nn.Parameter(torch.zeros(()))
        plain = input.modality != "pixels"
        self.register_buffer("center", torch.tensor(input.mean if plain and input.mean else 0.0))
        self.register_buffer("spread", torch.tensor(input.std if plain and input.std else 1.0))

    center: Tensor
    spread: Tensor

    def observe(self, x: Value, draw: Draw | None = None) -> Float[Tensor, "batch values"]:
        return (flat(x) - self.center) / self.spread

    def deviation(self) -> Tensor:
        return self.log_deviation.clamp(min=self.smallest).exp()

    def log_prob(self, outputs: Float[Tensor, "batch values per_value"], target: Float[Tensor, "batch values"]) -> Float[Tensor, " batch"]:
        log_deviation = self.log_deviation.clamp(min=self.smallest)
        squared = ((target - outputs[..., 0]) / log_deviation.exp()).square()
        return -(0.5 * squared + log_deviation + 0.5 * math.log(2 * math.pi)).sum(1)

    def mean(self, outputs: Float[Tensor, "batch values per_value"]) -> Float[Tensor, "batch values"]:
        return outputs[..., 0]

    def sample(self, outputs: Float[Tensor, "batch values per_value"], draw: Draw) -> Float[Tensor, "batch values"]:
        return outputs[..., 0] + self.deviation() * draw.normal(*outputs.shape[:2]).to(outputs.device)

    def value(self, target: Float[Tensor, "batch values"]) -> Value:
        return self.shaped(target * self.spread + self.center)


class Categorical(Likelihood):
    """Pixels as one of 256 levels each (van den Oord et al. 2016, section 3.3). outputs: logits of the levels, or of `levels` even steps between 0
    and 1."""

    name = "categorical"

    def __init__(self, input: InputSpec, levels: int = 256):
        super().__init__(input)
        if input.modality != "pixels":
            raise UserError("a categorical likelihood is of pixels", hint="use --set likelihood=gaussian")
        self.levels = self.per_value = levels

    def observe(self, x: Value, draw: Draw | None = None) -> Float[Tensor, "batch values"]:
        return (flat(x) * (self.levels - 1)).round()

    def log_prob(self, outputs: Float[Tensor, "batch values per_value"], target: Float[Tensor, "batch values"]) -> Float[Tensor, " batch"]:
        return -F.cross_entropy(outputs.transpose(1, 2), target.long(), reduction="none").sum(1)

    def mean(self, outputs: Float[Tensor, "batch values per_value"]) -> Float[Tensor, "batch values"]:
        return outputs.softmax(2) @ torch.arange(self.levels, device=outputs.device, dtype=outputs.dtype)

    def sample(self, outputs: Float[Tensor, "batch values per_value"], draw: Draw) -> Float[Tensor, "batch values"]:
        noise = draw.uniform(*outputs.shape).to(outputs.device).clamp(min=1e-20)
        return (outputs - (-noise.log()).log()).argmax(2).float()

    def value(self, target: Float[Tensor, "batch values"]) -> Value:
        return self.shaped(target / (self.levels - 1))


LIKELIHOODS: dict[str, type[Likelihood]] = {likelihood.name: likelihood for likelihood in (Bernoulli, Gaussian, Categorical)}


def flat(x: Value) -> Float[Tensor, "batch values"]:
    """Pictures in 0-1 or plain numbers, a row a sample."""
    if isinstance(x, Pixels):
        return x.unit().flatten(1)
    if isinstance(x, Vector):
        return x.numbers.float().flatten(1)
    raise TypeError(f"there is no likelihood of {x.modality}")


def choose_likelihood(name: str, input: InputSpec) -> Likelihood:
    """The likelihood of this name; for "auto" Bernoulli where nearly all numbers are at 0 or 1, else Gaussian. UserError for an unknown name."""
    if name != "auto" and name not in LIKELIHOODS:
        raise UserError(f"no likelihood is named {name!r}", hint=f"choose auto, {', '.join(LIKELIHOODS)}")
    if name == "auto":
        name = "bernoulli" if nearly_binary(input) else "gaussian"
    return LIKELIHOODS[name](input)


def nearly_binary(input: InputSpec) -> bool:
    """Whether numbers of 0-1 lie near these ends: their variance is then near mean * (1 - mean), the largest that there can be."""
    pairs = [(mean, std) for mean, std in zip(input.mean, input.std, strict=True) if 0 < mean < 1]
    most = sum(mean * (1 - mean) for mean, _ in pairs)
    inside = all(0 <= mean <= 1 for mean in input.mean)
    return inside and most > 0 and sum(std**2 for _, std in pairs) > NEARLY_BINARY * most
