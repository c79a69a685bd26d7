"""Likelihoods: exact values, sums that are sums, ranges that are kept, and which one fits which data."""

import itertools
import math

import pytest
import torch

from leaven.data import open_data
from leaven.draw import Draw
from leaven.errors import UserError
from leaven.modalities import InputSpec, Pixels, Vector
from leaven.modules.likelihood import Bernoulli, Categorical, Gaussian, choose_likelihood

GREY = InputSpec("pixels", (1, 2, 2), (0.3,), (0.3,))
NUMBERS = InputSpec("vector", (3,), (1.0, -2.0, 100.0), (0.5, 2.0, 10.0))


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def every(levels, values):
    """All targets of a few values."""
    return torch.tensor(list(itertools.product(range(levels), repeat=values)), dtype=torch.float64)


# --- densities ---


@pytest.mark.parametrize(("likelihood", "levels"), [(Bernoulli(GREY), 2), (Categorical(GREY, 3), 3)])
def test_the_probabilities_of_all_targets_sum_to_one(likelihood, levels):
    targets = every(levels, 4)
    outputs = 2 * random(1, 4, likelihood.per_value)
    assert likelihood.log_prob(outputs.expand(len(targets), -1, -1), targets).exp().sum().item() == pytest.approx(1.0, abs=1e-12)


def test_log_probabilities_are_those_of_torch_summed_over_values():
    outputs, targets = random(5, 4, 3), every(3, 4)[10:15]
    categorical = torch.distributions.Categorical(logits=outputs).log_prob(targets).sum(1)
    assert torch.allclose(Categorical(GREY, 3).log_prob(outputs, targets), categorical)
    binary = every(2, 4)[5:10]
    bernoulli = torch.distributions.Bernoulli(logits=outputs[..., 0]).log_prob(binary).sum(1)
    assert torch.allclose(Bernoulli(GREY).log_prob(outputs[..., :1], binary), bernoulli)
    shared, own, real = Gaussian(GREY).double(), Gaussian(GREY, own=True).double(), random(5, 4, seed=1)
    for likelihood, given in ((shared, outputs[..., :1]), (own, outputs[..., :2])):
        normal = torch.distributions.Normal(given[..., 0], likelihood.logarithm(given).exp())
        assert torch.allclose(likelihood.log_prob(given, real), normal.log_prob(real).sum(1))


def test_twice_the_values_are_twice_the_nats():
    once, twice = Bernoulli(GREY), Bernoulli(InputSpec("pixels", (2, 2, 2), (0.3, 0.3), (0.3, 0.3)))
    outputs, target = random(3, 4, 1), every(2, 4)[3:6]
    assert torch.allclose(twice.log_prob(outputs.repeat(1, 2, 1), target.repeat(1, 2)), 2 * once.log_prob(outputs, target))


def test_chance_is_the_loss_of_outputs_that_say_nothing():
    for likelihood, target in ((Bernoulli(GREY), every(2, 4)[:2]), (Categorical(GREY, 5), every(5, 4)[:2])):
        nothing = likelihood.log_prob(torch.zeros(2, 4, likelihood.per_value, dtype=torch.float64), target)
        assert torch.allclose(-nothing, torch.full((2,), likelihood.chance, dtype=torch.float64))
    assert Gaussian(GREY).chance is None


@pytest.mark.parametrize("own", [False, True])
def test_the_density_of_a_gaussian_integrates_to_one(own):
    likelihood = Gaussian(InputSpec("vector", (1,), (0.0,), (1.0,)), own).double()
    grid = torch.linspace(-20, 20, 4001, dtype=torch.float64)[:, None]
    outputs = torch.tensor([[[0.7, -0.4]]], dtype=torch.float64)[..., : likelihood.per_value].expand(len(grid), -1, -1)
    assert torch.trapezoid(likelihood.log_prob(outputs, grid).exp(), grid[:, 0]).item() == pytest.approx(1.0, abs=1e-9)


def test_a_deviation_starts_at_that_of_the_data_has_a_floor_and_finds_back_from_it():
    likelihood, outputs = Gaussian(GREY), torch.zeros(1, 4, 1)
    assert likelihood.logarithm(outputs).exp().item() == pytest.approx(0.3, rel=0.02)
    assert Gaussian(NUMBERS).logarithm(outputs).exp().item() == pytest.approx(1.0, rel=0.005)
    likelihood.change.data.fill_(-3.0)
    assert likelihood.logarithm(outputs).exp().item() == pytest.approx(1 / 256, rel=1e-5)
    likelihood.change.data.fill_(-0.7)
    likelihood.log_prob(outputs, torch.ones(1, 4)).sum().backward()
    assert likelihood.change.grad > 0  # far-off targets want it larger


# --- observing ---


def test_binary_values_stay_and_others_become_ones_as_often_as_they_say():
    likelihood = Bernoulli(GREY)
    binary = every(2, 4).float()
    assert torch.equal(likelihood.observe(Pixels(binary.view(-1, 1, 2, 2)), Draw(0)), binary)
    assert torch.equal(likelihood.observe(Pixels((255 * binary).byte().view(-1, 1, 2, 2))), binary)
    grey = torch.tensor([0.0, 0.2, 0.5, 1.0])
    drawn = likelihood.observe(Pixels(grey.view(1, 1, 2, 2).expand(20_000, -1, -1, -1)), Draw(0)).mean(0)
    assert (drawn - grey).abs().max() < 4 * (0.25 / 20_000) ** 0.5 and drawn[0] == 0 and drawn[3] == 1


def test_every_draw_binarises_anew_and_without_one_a_sample_is_binarised_by_itself():
    likelihood, grey = Bernoulli(GREY), Pixels(torch.full((50, 1, 2, 2), 0.5))
    assert not torch.equal(likelihood.observe(grey, Draw(0)), likelihood.observe(grey, Draw(1)))
    assert torch.equal(likelihood.observe(grey, Draw(0)), likelihood.observe(grey, Draw(0)))
    varied = Pixels(torch.rand(50, 1, 2, 2, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(likelihood.observe(varied)[7:9], likelihood.observe(varied[7:9]))


def test_two_halves_of_a_batch_are_binarised_as_the_whole():
    likelihood, grey = Bernoulli(GREY), Pixels(torch.full((8, 1, 2, 2), 0.5))
    halves = [likelihood.observe(grey[:4], Draw(0, part=part, parts=2)) for part in (0, 1)]
    assert torch.equal(torch.cat(halves), likelihood.observe(grey, Draw(0)))


@pytest.mark.parametrize("kind", [Bernoulli, Categorical])
@pytest.mark.parametrize(("bad", "told"), [(-0.01, "reach from -0.01 to 1"), (1.5, "reach from 0 to 1.5"), (math.nan, "some are NaN")])
def test_numbers_outside_the_range_are_one_clear_line(kind, bad, told):
    with pytest.raises(UserError, match=f"{kind.name} likelihood needs numbers from 0 to 1, and .*{told}") as caught:
        kind(GREY).observe(Pixels(torch.tensor([0.0, 1.0, bad, 0.3]).view(1, 1, 2, 2)))
    assert "\n" not in str(caught.value)


def test_targets_become_samples_again():
    pixels = torch.arange(256, dtype=torch.uint8).view(-1, 1, 2, 2)
    levels = Categorical(GREY)
    assert torch.equal(levels.observe(Pixels(pixels)), pixels.flatten(1).float())
    assert torch.equal((levels.value(levels.observe(Pixels(pixels))).pixels * 255).round().byte(), pixels)
    few = Categorical(GREY, 4)
    assert few.observe(Pixels(torch.tensor([0.0, 0.32, 0.7, 1.0]).view(1, 1, 2, 2))).tolist() == [[0, 1, 2, 3]]
    numbers = Vector(random(9, 3).float() * torch.tensor(NUMBERS.std) + torch.tensor(NUMBERS.mean))
    plain = Gaussian(NUMBERS)
    assert plain.observe(numbers).std() < 2
    assert torch.allclose(plain.value(plain.observe(numbers)).numbers, numbers.numbers, rtol=1e-5)
    assert Gaussian(GREY).value(torch.tensor([[-1.0, 0.5, 2.0, 1.0]])).pixels.flatten().tolist() == [0, 0.5, 1, 1]


# --- means and samples ---


def test_samples_have_the_distribution_and_its_mean():
    count = 40_000
    outputs = random(1, 2, 3).float().expand(count, -1, -1)
    share = outputs[0].softmax(1)
    drawn = Categorical(GREY, 3).sample(outputs, Draw(0))
    found = torch.nn.functional.one_hot(drawn.long(), 3).float().mean(0)
    assert (found - share).abs().max() < 4 * (0.25 / count) ** 0.5
    assert torch.allclose(Categorical(GREY, 3).mean(outputs)[0], share @ torch.arange(3.0))
    ones = Bernoulli(GREY).sample(outputs[..., :1], Draw(0)).mean(0)
    assert (ones - Bernoulli(GREY).mean(outputs)[0]).abs().max() < 4 * (0.25 / count) ** 0.5
    gaussian = Gaussian(GREY, own=True)
    real, deviation = gaussian.sample(outputs[..., :2], Draw(0)), gaussian.logarithm(outputs[..., :2])[0].exp()
    assert (real.mean(0) - gaussian.mean(outputs)[0]).abs().max() < 4 * deviation.max() / count**0.5
    assert torch.allclose(real.std(0), deviation, rtol=4 * (0.5 / count) ** 0.5)


# --- choosing ---


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (InputSpec("pixels", (1, 28, 28), (0.1307,), (0.3081,)), Bernoulli),  # MNIST
        (InputSpec("pixels", (1, 28, 28), (0.286,), (0.353,)), Gaussian),  # FashionMNIST
        (InputSpec("pixels", (3, 8, 8), (0.5,) * 3, (0.29,) * 3), Gaussian),  # noise
        (InputSpec("vector", (3,), (0.5, 0.01, 0.9), (0.5, 0.0995, 0.3)), Bernoulli),  # binary columns
        (InputSpec("vector", (3,), (0.5, 0.01, 0.0), (0.5, 0.0995, 1.0)), Bernoulli),  # of which one is constant
        (InputSpec("vector", (2,), (1e-3, 1e-3), (1.0, 1.0)), Gaussian),  # standardised numbers
        (InputSpec("vector", (2,), (0.3, 0.3), (0.1, 0.1)), Gaussian),  # shares
        (InputSpec("vector", (2,), (0.5, 3.0), (0.5, 0.5)), Gaussian),  # one binary column among others
    ],
)
def test_the_likelihood_follows_the_data(spec, expected):
    assert type(choose_likelihood("auto", spec)) is expected


def test_binary_numbers_have_a_bernoulli_likelihood_though_some_never_change():
    numbers = (random(200, 6) > 0).float()
    numbers[:, 0], numbers[:, 1], numbers[:, 2], numbers[0, 2] = 0, 1, 0, 1
    assert type(choose_likelihood("auto", open_data(numbers.numpy()).spec.roles["x"])) is Bernoulli


def test_what_fits_no_likelihood_is_one_clear_line():
    with pytest.raises(UserError, match="no likelihood is named 'poisson'"):
        choose_likelihood("poisson", GREY)
    with pytest.raises(UserError, match="vector have no categorical likelihood: choose bernoulli, gaussian"):
        choose_likelihood("categorical", NUMBERS)
    with pytest.raises(UserError, match="no likelihood of text"):
        choose_likelihood("auto", InputSpec("text", (5,), vocabulary=9))
    with pytest.raises(UserError, match="levels must be 2 or more"):
        choose_likelihood("categorical", GREY, levels=1)
