"""How likely a sample is, given a decoder's outputs for each of its values."""

import math
from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from leaven.draw import Draw
from leaven.errors import UserError
from leaven.modalities import InputSpec, Value, modality_of
from leaven.modules.units import check_within_0_and_1, drawn_counts

NEARLY_BINARY = 0.75  # of the largest variance that numbers of 0-1 with their mean can have; 0.84 in MNIST, 0.61 in FashionMNIST, 0.25 in cifar10


class Likelihood(nn.Module):
    """p(x | outputs), independent for each value of a sample. All sums are over the values of a sample, in nats: never means.

    per_value: how many outputs a decoder gives for each value. Outputs are (batch, values, per_value), targets (batch, values); `mean` and `sample`
    take the outputs of any of the values. chance: nats per sample (as a loss) under a model that knows nothing; None where there is no such number.
    """

    name: ClassVar[str]
    per_value: int = 1
    chance: float | None = None

    def __init__(self, input: InputSpec):
        super().__init__()
        self.input, self.modality = input, modality_of(input)
        self.values = math.prod(input.shape)

    @abstractmethod
    def observe(self, x: Value, draw: Draw | None = None) -> Float[Tensor, "batch values"]:
        """Samples as targets of the likelihood. What is random in that comes from the draw; without a draw it only depends on the sample.

        Raises UserError for numbers outside the likelihood's range.
        """

    def expected(self, x: Value) -> Float[Tensor, "batch values"]:
        """The average of `observe`."""
        return self.observe(x)

    @abstractmethod
    def log_prob(self, outputs: Float[Tensor, "batch values per_value"], target: Float[Tensor, "batch values"]) -> Float[Tensor, " batch"]:
        """log p(target | outputs), summed over the values of each sample."""

    @abstractmethod
    def mean(self, outputs: Float[Tensor, "batch values per_value"]) -> Float[Tensor, "batch values"]:
        """The expected target."""

    def unexplained(self, outputs: Float[Tensor, "batch values per_value"], target: Float[Tensor, "batch values"]) -> float:
        """The share of the differences between samples that is lost: 1 where outputs only give the mean sample, 0 where they give every sample."""
        error = (self.mean(outputs) - target).square().mean()
        return (error / (target - target.mean(0)).square().mean().clamp(min=1e-12)).item()

    @abstractmethod
    def sample(self, outputs: Float[Tensor, "batch values per_value"], draw: Draw) -> Float[Tensor, "batch values"]:
        """A random target."""

    def value(self, target: Float[Tensor, "batch values"]) -> Value:
        """Targets as samples of the input's modality."""
        return self.modality.of_numbers(target.unflatten(1, self.input.shape), self.input)

    def numbers(self, x: Value) -> Float[Tensor, "batch values"]:
        """Samples as people know them, such as pixels in 0-1."""
        return self.modality.numbers(x).flatten(1)

    def within_0_and_1(self, numbers: Tensor) -> Tensor:
        if numbers.numel():
            self.check(*(edge.item() for edge in numbers.aminmax()))
        return numbers

    def check(self, low: float, high: float) -> None:
        check_within_0_and_1(low, high, f"a {self.name} likelihood needs", hint="use --set likelihood=gaussian")


class Bernoulli(Likelihood):
    """Binary values. Numbers between 0 and 1 are the probabilities of a 1, drawn anew for each step (Salakhutdinov and Murray 2008, section 5.2).

    outputs: logits.
    """

    name = "bernoulli"

    def __init__(self, input: InputSpec):
        super().__init__(input)
        self.chance = self.values * math.log(2)
        if input.range is not None:
            self.check(*input.range)

    def observe(self, x: Value, draw: Draw | None = None) -> Float[Tensor, "batch values"]:
        numbers = self.expected(x)
        threshold = Draw("binarized").uniform(1, self.values) if draw is None else draw.uniform(*numbers.shape)
        return (threshold.to(numbers.device) < numbers).float()

    def expected(self, x: Value) -> Float[Tensor, "batch values"]:
        return self.within_0_and_1(self.numbers(x))

    def log_prob(self, outputs: Float[Tensor, "batch values per_value"], target: Float[Tensor, "batch values"]) -> Float[Tensor, " batch"]:
        return -F.binary_cross_entropy_with_logits(outputs[..., 0], target.to(outputs.dtype), reduction="none").sum(1)

    def mean(self, outputs: Float[Tensor, "batch values per_value"]) -> Float[Tensor, "batch values"]:
        return outputs[..., 0].sigmoid()

    def sample(self, outputs: Float[Tensor, "batch values per_value"], draw: Draw) -> Float[Tensor, "batch values"]:
        return (draw.uniform(*outputs.shape[:2]).to(outputs.device) < self.mean(outputs)).to(outputs.dtype)


class Gaussian(Likelihood):
    """Real values around a mean, with one learned deviation for all of them (Rybkin et al. 2021, section 3), or each with its own.

    Densities are those of pixels in 0-1, and of plain numbers in their own units divided by their deviations. outputs: means; where each value has
    its `own` deviation, means and logarithms of deviations.
    """

    name = "gaussian"
    smallest = -math.log(256)  # pixels are no more exact than that, and a smaller deviation would be rewarded without end
    haste = 10.0  # Adam moves a parameter by little more than the learning rate per step, too little for the one that all values depend on

    def __init__(self, input: InputSpec, own: bool = False):
        super().__init__(input)
        self.per_value = 2 if own else 1
        plain = not self.modality.bounded
        self.start = 0.0 if plain or not input.std else math.log(sum(std**2 for std in input.std) / len(input.std)) / 2
        self.change = None if own else nn.Parameter(torch.zeros(()))
        center, spread = self.modality.statistics(input) if plain else (torch.zeros(1), torch.ones(1))
        self.register_buffer("center", center.expand(1, *input.shape).flatten() if plain else center[0])
        self.register_buffer("spread", spread.expand(1, *input.shape).flatten() if plain else spread[0])

    center: Tensor
    spread: Tensor

    def observe(self, x: Value, draw: Draw | None = None) -> Float[Tensor, "batch values"]:
        return (self.numbers(x) - self.center) / self.spread

    def logarithm(self, outputs: Tensor) -> Tensor:
        """Logarithm of the deviation: one for all values, or (batch, values). It starts at that of the data, and approaches its minimum softly."""
        change = outputs[..., 1] if self.change is None else self.haste * self.change
        return self.smallest + F.softplus(self.start + change - self.smallest)

    def log_prob(self, outputs: Float[Tensor, "batch values per_value"], target: Float[Tensor, "batch values"]) -> Float[Tensor, " batch"]:
        logarithm = self.logarithm(outputs)
        return -(0.5 * ((target - outputs[..., 0]) * (-logarithm).exp()).square() + logarithm + 0.5 * math.log(2 * math.pi)).sum(1)

    def mean(self, outputs: Float[Tensor, "batch values per_value"]) -> Float[Tensor, "batch values"]:
        return outputs[..., 0]

    def sample(self, outputs: Float[Tensor, "batch values per_value"], draw: Draw) -> Float[Tensor, "batch values"]:
        return outputs[..., 0] + self.logarithm(outputs).exp() * draw.normal(*outputs.shape[:2]).to(outputs)

    def value(self, target: Float[Tensor, "batch values"]) -> Value:
        return super().value(target * self.spread + self.center)


class Categorical(Likelihood):
    """Pixels as one of 256 levels each, or of fewer even steps between 0 and 1 (van den Oord et al. 2016, section 3.3). outputs: logits."""

    name = "categorical"

    def __init__(self, input: InputSpec, levels: int = 256):
        super().__init__(input)
        if levels < 2:
            raise UserError(f"levels must be 2 or more, not {levels}")
        self.per_value = self.levels = levels
        self.chance = self.values * math.log(levels)

    def observe(self, x: Value, draw: Draw | None = None) -> Float[Tensor, "batch values"]:
        return (self.within_0_and_1(self.numbers(x)) * (self.levels - 1)).round()

    def log_prob(self, outputs: Float[Tensor, "batch values per_value"], target: Float[Tensor, "batch values"]) -> Float[Tensor, " batch"]:
        nats = F.cross_entropy(outputs.flatten(0, 1), target.long().flatten(), reduction="none")
        return -nats.unflatten(0, target.shape).sum(1)

    def mean(self, outputs: Float[Tensor, "batch values per_value"]) -> Float[Tensor, "batch values"]:
        return outputs.softmax(2) @ torch.arange(self.levels, device=outputs.device, dtype=outputs.dtype)

    def sample(self, outputs: Float[Tensor, "batch values per_value"], draw: Draw) -> Float[Tensor, "batch values"]:
        noise = draw.uniform(*outputs.shape).to(outputs).clamp(min=1e-20)
        return (outputs - (-noise.log()).log()).argmax(2).to(outputs.dtype)  # with Gumbel noise, the largest is a draw from the softmax

    def value(self, target: Float[Tensor, "batch values"]) -> Value:
        return super().value(target / (self.levels - 1))


class Multinomial(Likelihood):
    """The words of a text of known length, each drawn from one softmax over all words (Hinton and Salakhutdinov 2006).

    log p = sum over words of count * log softmax(outputs): that of the words in their order. The number of orders that give the same counts, which
    no model changes, is left out; so counts need not be whole. `mean` gives shares, which sum to 1; `sample` texts of the data's mean length.
    outputs: logits.
    """

    name = "multinomial"

    def __init__(self, input: InputSpec):
        super().__init__(input)
        self.chance = sum(input.mean) * math.log(self.values)

    def observe(self, x: Value, draw: Draw | None = None) -> Float[Tensor, "batch values"]:
        return self.numbers(x)

    def log_prob(self, outputs: Float[Tensor, "batch values per_value"], target: Float[Tensor, "batch values"]) -> Float[Tensor, " batch"]:
        return (target * outputs[..., 0].log_softmax(1)).sum(1)

    def mean(self, outputs: Float[Tensor, "batch values per_value"]) -> Float[Tensor, "batch values"]:
        return outputs[..., 0].softmax(1)

    def unexplained(self, outputs: Float[Tensor, "batch values per_value"], target: Float[Tensor, "batch values"]) -> float:
        """The same in nats, of what the shares of words in a text say about it beyond the shares over all texts."""
        best = torch.xlogy(target, target / target.sum(1, keepdim=True).clamp(min=1e-12)).sum()
        total = target.sum(0)
        floor = torch.xlogy(total, total / total.sum().clamp(min=1e-12)).sum()
        return ((best - self.log_prob(outputs, target).sum()) / (best - floor).clamp(min=1e-12)).item()

    def sample(self, outputs: Float[Tensor, "batch values per_value"], draw: Draw) -> Float[Tensor, "batch values"]:
        return drawn_counts(self.mean(outputs), draw.uniform(len(outputs), self.input.words).to(outputs))


LIKELIHOODS: dict[str, type[Likelihood]] = {likelihood.name: likelihood for likelihood in (Bernoulli, Gaussian, Categorical, Multinomial)}


def choose_likelihood(name: str, input: InputSpec, *, otherwise: str = "gaussian", own: bool = False, levels: int = 256) -> Likelihood:
    """The likelihood of this name. "auto": Bernoulli for numbers near 0 or 1, else `otherwise`; if the modality offers neither, its first.

    own: whether each value of a Gaussian has its own deviation. levels: of a categorical likelihood.
    """
    offered = modality_of(input).likelihoods
    if not offered:
        raise UserError(f"there is no likelihood of {input.modality}", hint="see `leaven methods` for a method that needs none")
    if name == "auto":
        name = "bernoulli" if "bernoulli" in offered and nearly_binary(input) else otherwise if otherwise in offered else offered[0]
    if name not in LIKELIHOODS:
        raise UserError(f"no likelihood is named {name!r}", hint=f"choose auto, {', '.join(offered)}")
    if name not in offered:
        raise UserError(f"a {name} likelihood does not fit {input.modality} data", hint=f"choose {', '.join(offered)}, or leave it out")
    if name == "gaussian":
        return Gaussian(input, own)
    return Categorical(input, levels) if name == "categorical" else LIKELIHOODS[name](input)


def nearly_binary(input: InputSpec) -> bool:
    """Whether numbers in 0-1 are near 0 or 1: their variance is then near mean * (1 - mean), the largest possible.

    A std of 1 stands for a constant; numbers of 0-1 have none above a half.
    """
    low, high = input.range or (0.0, 1.0)
    pairs = [(mean, 0.0 if std == 1 else std**2, mean * (1 - mean)) for mean, std in zip(input.mean, input.std, strict=True)]
    inside = low >= 0 and high <= 1 and all(0 <= mean <= 1 and variance <= 1.001 * most + 1e-9 for mean, variance, most in pairs)
    most = sum(most for _, _, most in pairs)
    return inside and most > 0 and sum(variance for _, variance, most in pairs if most > 0) > NEARLY_BINARY * most
