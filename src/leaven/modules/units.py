"""The units of Boltzmann machines: what a layer's states are, and how likely each is."""

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from leaven.draw import Draw
from leaven.errors import UserError


def check_within_0_and_1(low: float, high: float, need: str, *, hint: str) -> None:
    """UserError where the smallest or the largest of some numbers is outside 0-1. need: whose numbers, and a verb."""
    if not (low >= 0 and high <= 1):  # so that NaN is refused as well
        extent = "some are NaN" if math.isnan(low) else f"these reach from {low:.3g} to {high:.3g}"
        raise UserError(f"{need} numbers from 0 to 1, and {extent}", hint=hint)


class Units(ABC):
    """A layer of units with states s, whose probabilities follow from their fields: p(s | field) = exp(field s - energy(s) - log_normalizer(field)).

    The normaliser is summed over units.
    """

    def check(self, low: float, high: float) -> None:  # noqa: B027
        """UserError where `observe` does not take numbers between these two, the smallest and the largest of the samples."""

    @abstractmethod
    def observe(self, numbers: Float[Tensor, "batch units"], draw: Draw) -> Float[Tensor, "batch units"]:
        """The states that represent samples."""

    @abstractmethod
    def resting(self, total: Float[Tensor, " units"], samples: int) -> Float[Tensor, " units"]:
        """The field in which units have the mean over the samples. total: their sum."""

    @abstractmethod
    def energy(self, states: Float[Tensor, "batch units"]) -> Float[Tensor, " batch"]:
        """The energy of the states themselves, without any field."""

    @abstractmethod
    def log_normalizer(self, field: Tensor) -> Tensor:
        """log of the sum (or integral) of exp(field s - energy(s)) over all states s."""

    @abstractmethod
    def mean(self, field: Tensor) -> Tensor:
        """The expected state."""

    @abstractmethod
    def noise(self, draw: Draw, rows: int, *shape: int) -> Tensor:
        """The noise that `sample` takes."""

    @abstractmethod
    def sample(self, field: Tensor, noise: Tensor) -> Tensor:
        """Random states, in the float type of the field."""

    def states(self, field: Tensor, draw: Draw | None) -> Tensor:
        """Random states, or without a draw the expected ones."""
        return self.mean(field) if draw is None else self.sample(field, self.noise(draw, *field.shape).to(field))

    def log_prob(self, states: Float[Tensor, "batch units"], field: Float[Tensor, "batch units"]) -> Float[Tensor, " batch"]:
        return (field * states).sum(1) - self.log_normalizer(field).sum(1) - self.energy(states)


class Binary(Units):
    """States 0 and 1. Samples are numbers from 0 to 1, each the probability of a 1. The noise is logistic: s = 1 where the field is above it."""

    def check(self, low, high):
        check_within_0_and_1(low, high, "binary units need", hint="Gaussian ones take any: --method gaussian_rbm")

    def observe(self, numbers, draw):
        self.check(*(edge.item() for edge in numbers.aminmax()))
        return (draw.uniform(*numbers.shape).to(numbers.device) < numbers).to(numbers.dtype)

    def resting(self, total, samples):
        return ((total + 1) / (samples + 2)).logit()  # a value that is 0 throughout is unlikely to be 1, not impossible (Laplace)

    def energy(self, states):
        return torch.zeros_like(states[:, 0])

    def log_normalizer(self, field):
        return F.softplus(field)

    def mean(self, field):
        return field.sigmoid()

    def noise(self, draw, rows, *shape):
        return draw.uniform(rows, *shape).logit_()

    def sample(self, field, noise):
        return (field > noise).to(field.dtype)


class Gaussian(Units):
    """Real states of unit variance."""

    def observe(self, numbers, draw):
        return numbers

    def resting(self, total, samples):
        return total / samples

    def energy(self, states):
        return 0.5 * states.square().sum(1)

    def log_normalizer(self, field):
        return 0.5 * (field.square() + math.log(2 * math.pi))

    def mean(self, field):
        return field

    def noise(self, draw, rows, *shape):
        return draw.normal(rows, *shape)

    def sample(self, field, noise):
        return field + noise


class Words(Units):
    """Counts of words in texts of `length` words, each drawn from one softmax over the fields (replicated softmax, Salakhutdinov and Hinton 2009).

    Texts of other lengths are brought to this one. The paper multiplies the hidden biases by a text's length; of texts of one length this is no
    more than another bias, and the layer stays one that an encoder can share. Probabilities are those of the words in their order. The normaliser is
    of all units together. The noise is a number from 0 to 1 for each word.
    """

    def __init__(self, length: int):
        self.length = length

    def observe(self, numbers, draw):
        return numbers * (self.length / numbers.sum(1, keepdim=True).clamp(min=1e-12))

    def resting(self, total, samples):
        return (total + 1).log() - (total + 1).sum().log()  # a word that never occurs is unlikely, not impossible (Laplace)

    def energy(self, states):
        return torch.zeros_like(states[:, 0])

    def log_normalizer(self, field):
        return self.length * field.logsumexp(-1, keepdim=True)

    def mean(self, field):
        return self.length * field.softmax(-1)

    def noise(self, draw, rows, *shape):
        return draw.uniform(rows, *shape[:-1], self.length)

    def sample(self, field, noise):
        return drawn_counts(field.softmax(-1), noise.to(field))


def drawn_counts(shares: Float[Tensor, "batch units"], noise: Float[Tensor, "batch words"]) -> Float[Tensor, "batch units"]:
    """How often each word occurs in texts whose words are drawn with these probabilities, one word per uniform number."""
    words = torch.searchsorted(shares.cumsum(1), noise).clamp(max=shares.shape[1] - 1)
    return torch.zeros_like(shares).scatter_add_(1, words, torch.ones_like(noise))
