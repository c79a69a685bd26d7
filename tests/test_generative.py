"""GANs, diffusion and the measures of what they make: losses, turns, slopes, schedules and distances by hand, and small trainings that must learn."""

import dataclasses
import json
import math
import sys

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import nn

import leaven
from leaven.data import Batch, open_data
from leaven.data.spec import DataSpec
from leaven.draw import Draw
from leaven.encoders import UNet, build_encoder
from leaven.encoders.strided import halvings
from leaven.evaluation import generation
from leaven.evaluation.generation import dropped_classes, frechet_distance, likeness, recognised
from leaven.evaluation.protocols.samples import gaussian
from leaven.methods.generative.gan import GAN
from leaven.methods.method import Method, Outputs, Recipe
from leaven.methods.registry import build_method, find_method
from leaven.modalities import InputSpec, Pixels, Vector
from leaven.modules.adversaries import deviation, energy_distance
from leaven.modules.batchnorm import has_batch_norm
from leaven.training.trained import trained_method

NUMBERS = InputSpec("vector", (3,), (100.0, -5.0, 0.0), (10.0, 0.1, 1.0))
GREY = InputSpec("pixels", (1, 8, 8), (0.4,), (0.25,))
DENSE = {"noise": 2, "generator": (8,), "discriminator": (8,)}
TINY = {"noise": 2, "width": 4}


def made(name, input=NUMBERS, classes=0, **settings):
    torch.manual_seed(0)
    return build_method(find_method(name), DataSpec(60, {"x": input}, classes, 60 if classes else 0), {}, settings)[0]


def batch_of(input, count=16, classes=0):
    generator = torch.Generator().manual_seed(1)
    if input.modality == "pixels":
        value = Pixels(torch.randint(256, (count, *input.shape), dtype=torch.uint8, generator=generator))
    else:
        value = Vector(torch.tensor(input.mean) + torch.tensor(input.std) * torch.randn(count, *input.shape, generator=generator))
    return Batch.of(x=value, label=torch.arange(count) % classes if classes else None)


def turn(method, player, batch, seed=0):
    """The losses of one player, after a backward pass in which all parameters could take a gradient."""
    method.zero_grad()
    terms = method.loss(method(method.views(batch, Draw("views", seed)), player), player)
    sum(terms.values()).backward()
    return terms


def moved(network):
    return [parameter for parameter in network.parameters() if parameter.grad is not None and parameter.grad.abs().sum() > 0]


# --- the two players ---


def test_the_losses_of_both_players_are_those_of_the_papers_in_probabilities():
    real, fake = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([-3.0, 0.2, 1.5])
    p, q = real.sigmoid(), fake.sigmoid()
    method, paper = made("gan", **DENSE), made("gan", **DENSE, saturating=True)
    both = {"real": real, "fake": fake}
    assert method.loss(Outputs(both), "discriminator")["discriminator"].item() == pytest.approx(-(p.log().mean() + (1 - q).log().mean()).item())
    assert method.loss(Outputs(fake=fake), "generator")["generator"].item() == pytest.approx(-q.log().mean().item())
    assert paper.loss(Outputs(fake=fake), "generator")["generator"].item() == pytest.approx((1 - q).log().mean().item())
    assert paper.loss(Outputs(both), "discriminator") == method.loss(Outputs(both), "discriminator")


def test_only_the_saturating_gradient_vanishes_where_the_discriminator_is_sure():
    slopes = {}
    for saturating in (False, True):
        score = torch.tensor([-20.0], requires_grad=True)
        made("gan", **DENSE, saturating=saturating).loss(Outputs(fake=score), "generator")["generator"].backward()
        slopes[saturating] = score.grad.item()
    assert slopes[False] == pytest.approx(-1.0, abs=1e-6)  # -(1 - D)
    assert slopes[True] == pytest.approx(-math.exp(-20), rel=1e-4)  # -D


@pytest.mark.parametrize("name", ["gan", "dcgan", "conditional_gan", "wgan_gp"])
def test_fakes_are_detached_in_the_discriminators_turn_and_reach_the_generator_in_its_own(name):
    method = made(name, GREY, 3, **(DENSE if name == "gan" else TINY))
    turn(method, "discriminator", batch_of(GREY, classes=3))
    assert moved(method.discriminator) and not moved(method.generator)
    turn(method, "generator", batch_of(GREY, classes=3))
    assert moved(method.generator)


class Watched(GAN):
    """Says who could move in each turn, and whose weights they were."""

    def forward(self, views, player):
        free = [name for name in ("discriminator", "generator") if any(each.requires_grad for each in getattr(self, name).parameters())]
        TURNS.append((player, free, [sum(each.sum().item() for each in getattr(self, name).parameters()) for name in ("discriminator", "generator")]))
        return super().forward(views, player)


TURNS: list = []


def test_turns_follow_the_discriminators_steps_and_the_other_player_stands_still(tmp_path):
    TURNS.clear()
    data = batch_of(NUMBERS, 32)["x"].numbers.numpy()
    settings = {**DENSE, "discriminator_steps": 2}
    leaven.pretrain(data, method=Watched, steps=9, batch=16, out=tmp_path / "run", settings=settings, precision="fp32", report=False)
    told = [(player, free) for player, free, _ in TURNS if free]
    assert told == 3 * (2 * [("discriminator", ["discriminator"])] + [("generator", ["generator"])])
    weights = [sums for _, _, sums in TURNS]
    for (player, *_), before, after in zip(TURNS, weights, weights[1:], strict=False):
        still, moves = (1, 0) if player == "discriminator" else (0, 1)
        assert before[still] == after[still] and before[moves] != after[moves]


def test_the_average_moves_with_the_generator_alone_warms_up_and_takes_its_buffers():
    method = made("dcgan", GREY, **TINY, momentum=0.5)
    name, weight = next((name, each) for name, each in method.generator.named_parameters())
    average, before = dict(method.average.network[0].named_parameters())[name], weight.detach().clone()
    with torch.no_grad():
        weight += 1.0
    real = Outputs(real=torch.zeros(2), fake=torch.zeros(2))
    method.after_step(real, 0.5)
    assert torch.equal(average, before)
    method.after_step(Outputs(fake=torch.zeros(2)), 0.5)
    assert torch.allclose(average, before + 0.9)  # its momentum begins at 1/10
    method.after_step(Outputs(fake=torch.zeros(2)), 0.5)
    assert torch.allclose(average, before + 1 - 0.1 * 2 / 11)
    method.average.updates.fill_(1000)
    method.after_step(Outputs(fake=torch.zeros(2)), 0.5)
    assert torch.allclose(average, before + 1 - 0.1 * 2 / 11 * 0.5)
    method.generator(torch.randn(16, 2))  # moves the running statistics
    method.after_step(Outputs(fake=torch.zeros(2)), 0.5)
    for (name, theirs), ours in zip(method.generator.named_buffers(), method.average.network[0].buffers(), strict=True):
        assert torch.equal(theirs, ours), name


def test_samples_are_pictures_in_0_to_1_or_numbers_in_the_units_of_the_data():
    pictures = made("dcgan", GREY, **TINY).eval()
    with torch.no_grad():
        pictures.average.network[0].layers[-1].weight *= 1e4
    values = pictures.sample(20, Draw(0)).pixels
    assert values.shape == (20, 1, 8, 8) and values.min() == 0 and values.max() == 1
    numbers = made("gan", **DENSE).eval()
    last = numbers.average.network[0].layers[0][-1]
    nn.init.zeros_(last.weight)
    nn.init.ones_(last.bias)
    assert torch.allclose(numbers.sample(5, Draw(0)).numbers, torch.tensor([110.0, -4.9, 1.0]).expand(5, 3))


def test_the_convolutional_players_halve_and_double_between_the_picture_and_the_smallest_maps():
    method = made("dcgan", InputSpec("pixels", (3, 32, 32), (0.5,) * 3, (0.2,) * 3), noise=5, width=4)
    convs = [module for module in method.generator.modules() if isinstance(module, nn.ConvTranspose2d)]
    assert [(conv.in_channels, conv.out_channels) for conv in convs] == [(16, 8), (8, 4), (4, 3)]
    assert method.encoder.widths == [4, 8, 16] and method.encoder.maps(torch.rand(2, 3, 32, 32)).shape == (2, 16, 4, 4)
    norms = [module for module in method.generator.modules() if isinstance(module, nn.BatchNorm2d)]
    assert [norm.num_features for norm in norms] == [16, 8, 4] and isinstance(method.encoder.norms[0], nn.Identity)
    assert 0.015 < convs[0].weight.std() < 0.025


@pytest.mark.parametrize(("sides", "times"), [((28, 28), 2), ((8, 8), 1), ((32, 32), 3), ((64, 64), 4), ((28, 16), 2), ((96, 96), 4)])
def test_pictures_are_halved_down_to_a_side_of_4_to_7(sides, times):
    assert halvings(*sides) == times


@pytest.mark.parametrize("sides", [(30, 30), (7, 7), (64, 8), (33, 33)])
def test_sides_that_cannot_be_halved_so_are_one_clear_line(sides):
    with pytest.raises(leaven.UserError, match="cannot be halved"):
        build_encoder("strided", InputSpec("pixels", (1, *sides)), {})


def test_strided_features_are_the_largest_values_of_each_cell():
    encoder = build_encoder("strided", GREY, {"width": 4, "grid": 2})
    assert encoder.pool(torch.arange(16.0).view(1, 1, 4, 4)).flatten().tolist() == [5, 7, 13, 15]
    assert encoder.pool(torch.arange(25.0).view(1, 1, 5, 5)).flatten().tolist() == [12, 14, 22, 24]
    x = torch.rand(3, 1, 8, 8)
    assert torch.equal(encoder.eval()(x), encoder.maps(x).unflatten(2, (2, 2)).unflatten(4, (2, 2)).amax((3, 5)).flatten(1))


# --- the critic with a slope ---


def with_critic(function, input=NUMBERS, **settings):
    """wgan_gp with this function of standardised values for a critic."""
    method = made("wgan_gp", input, **TINY, **settings)
    method.discriminator.forward = lambda x, *label: function(method.encoder.normalize(x))
    return method


def test_the_penalty_of_a_linear_critic_is_that_of_its_weights():
    weight = torch.tensor([3.0, 0.0, 4.0], requires_grad=True)
    method = with_critic(lambda z: z @ weight)
    views = method.views(batch_of(NUMBERS), Draw(0))
    outputs = method(views, "discriminator")
    assert torch.allclose(outputs.slope, torch.full((16,), 5.0))  # along standardised values, whatever their units
    terms = method.loss(outputs, "discriminator")
    assert method.penalty == 10 and terms["penalty"].item() == pytest.approx(10 * (5 - 1) ** 2, rel=1e-5)
    (gradient,) = torch.autograd.grad(terms["penalty"], weight)
    assert torch.allclose(gradient, 20 * (5 - 1) * weight.detach() / 5, rtol=1e-4)
    assert terms["critic"].item() == pytest.approx((outputs.fake.mean() - outputs.real.mean()).item())
    assert method.loss(Outputs(fake=outputs.fake), "generator")["generator"].item() == pytest.approx(-outputs.fake.mean().item())


def test_slopes_are_taken_between_a_real_and_a_generated_sample_at_a_place_of_each_ones_own():
    method = with_critic(lambda z: z.square().sum(1) / 2)  # its slope is the distance of the place from the mean
    views = method.views(batch_of(NUMBERS), Draw(0))
    share, fake = views["share"], method.generator(views["noise"][0])
    real, fake = (method.encoder.normalize(each) for each in (views["real"][0], fake))
    between = share[:, None] * real + (1 - share)[:, None] * fake
    assert torch.allclose(method(views, "discriminator").slope, between.norm(dim=1), rtol=1e-4)
    assert len(share.unique()) == 16 and share.min() >= 0 and share.max() <= 1


def test_a_critic_has_no_batch_norm_and_is_never_too_strong():
    larger = dataclasses.replace(GREY, shape=(1, 16, 16))
    method = made("wgan_gp", larger, **TINY)
    assert not has_batch_norm(method.discriminator) and has_batch_norm(method.generator)
    assert has_batch_norm(made("dcgan", larger, **TINY).discriminator)
    method.average.updates.fill_(10_000)
    with torch.no_grad():
        measures = method.examine(method.views(batch_of(larger), Draw(0)))
    assert set(measures) == {"sample_spread", "sample_distance", "sample_drift"}
    assert "discriminator too strong" not in method.diagnose(measures)


def test_a_conditional_critic_compares_samples_with_the_data_of_their_own_class():
    method = made("wgan_gp", GREY, 3, conditional=True, **TINY)
    views = method.views(batch_of(GREY, classes=3), Draw(0))
    assert torch.equal(views["real"][1], views["noise"][1]) and torch.equal(views["real"][1], torch.arange(16) % 3)


# --- classes that are asked for ---


def test_classes_of_generated_samples_are_drawn_anew_as_often_as_in_the_data():
    method = made("conditional_gan", NUMBERS, 4, **TINY)
    label = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 3, 3])
    method.stages()[0].prepare(lambda function: function(Batch.of(x=Vector(torch.zeros(10, 3)), label=label)).float())
    assert torch.allclose(method.shares, torch.tensor([0.5, 0.3, 0.0, 0.2]))
    batch = batch_of(NUMBERS, 20_000, classes=4)
    first, second = (method.views(batch, Draw("views", step))["noise"][1] for step in (1, 2))
    found = first.bincount(minlength=4) / 20_000
    assert (found - method.shares).abs().max() < 4 * 0.5 / 20_000**0.5 and found[2] == 0
    assert not torch.equal(first, batch.label) and not torch.equal(first, second)


def test_the_discriminator_projects_the_class_on_its_features():
    method = made("conditional_gan", NUMBERS, 3, **TINY)
    x, label = batch_of(NUMBERS, 5)["x"], torch.tensor([0, 2, 1, 1, 0])
    player = method.discriminator
    by_hand = [player.score.bias + (player.score.weight[0] + player.classes.weight[y]) @ h for h, y in zip(player.encoder(x), label, strict=True)]
    assert torch.allclose(player(x, label), torch.cat(by_hand), atol=1e-6)


def test_the_generator_reads_the_class_beside_the_noise():
    method = made("conditional_gan", NUMBERS, 3, **TINY).eval()
    noise = Draw(0).normal(1, 2).expand(3, 2)
    samples = method.average(noise, torch.arange(3))
    told = method.average.network[0].layers(torch.cat([noise, torch.eye(3)], 1))
    assert torch.allclose(samples, torch.tensor(NUMBERS.mean) + torch.tensor(NUMBERS.std) * told) and len(samples.unique(dim=0)) == 3


@pytest.mark.parametrize(("name", "settings"), [("conditional_gan", {}), ("wgan_gp", {"conditional": True})])
@pytest.mark.parametrize("labeled", [0, 59])
def test_samples_without_a_class_cannot_teach_classes(name, settings, labeled):
    with pytest.raises(leaven.UserError, match="needs labels of two classes or more for all samples"):
        build_method(find_method(name), DataSpec(60, {"x": NUMBERS}, 2 if labeled else 0, labeled), {}, settings)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("gan", {"noise": 0}, "noise must be 1 or more"),
        ("dcgan", {"discriminator_steps": 0}, "steps must be 1 or more"),
        ("gan", {"momentum": 1.0}, "momentum must be from 0 to below 1"),
        ("wgan_gp", {"penalty": -1.0}, "penalty must be 0 or more"),
        ("diffusion", {"schedule": "straight"}, "schedule cannot be"),
        ("diffusion", {"label_drop": 1.5}, "label_drop must be from 0 to 1"),
        ("diffusion", {"sample_steps": 30}, "must divide levels"),
        ("diffusion", {"width": 6}, "a multiple of 4"),
    ],
)
def test_settings_out_of_range_are_one_clear_line(name, settings, words):
    with pytest.raises(leaven.UserError, match=words):
        made(name, GREY, **settings)


# --- what the health monitor is told ---


def examined(method, count=400, turns=1000, **replaced):
    """What a method says of itself after so many turns, with its networks replaced by these functions, and what is wrong by that."""
    for name, function in replaced.items():
        getattr(method, name).forward = function
    method.average.updates.fill_(turns)
    with torch.no_grad():
        measures = method.examine(method.views(batch_of(NUMBERS, count), Draw(0)))
    return measures, method.diagnose(measures)


def like_the_data(noise):
    """Other samples of what `batch_of` draws from."""
    return torch.tensor(NUMBERS.mean) + torch.tensor(NUMBERS.std) * torch.randn(len(noise), 3, generator=torch.Generator().manual_seed(7))


def test_a_generator_that_meets_the_data_is_healthy():
    measures, wrong = examined(made("gan", **DENSE), generator=like_the_data, average=like_the_data)
    assert measures["sample_spread"] == pytest.approx(1, abs=0.1) and abs(measures["sample_distance"]) < 0.01 and measures["sample_drift"] == 0
    assert wrong == {}


def test_samples_that_are_all_alike_are_a_mode_collapse_but_not_in_the_beginning():
    def same(noise):
        return torch.tensor([110.0, -5.0, 0.0]).expand(len(noise), 3)  # one deviation from the mean in the first number

    measures, wrong = examined(made("gan", **DENSE), generator=same, average=same)
    assert measures["sample_spread"] == 0 and list(wrong) == ["mode collapse"] and "0.00 times" in wrong["mode collapse"]
    assert examined(made("gan", **DENSE), generator=same, average=same, turns=199)[1] == {}


def test_a_discriminator_that_is_never_wrong_is_too_strong_while_samples_are_far_away():
    real, step = batch_of(NUMBERS, 400)["x"].numbers, 2 * torch.tensor(NUMBERS.std)

    def far(noise):
        return like_the_data(noise) + step

    def right(share):
        return lambda x: torch.where(torch.arange(400) < share * 400, 1.0, -1.0) * (1 if torch.equal(getattr(x, "numbers", x), real) else -1)

    measures, wrong = examined(made("gan", **DENSE), discriminator=right(1.0), generator=far, average=far)
    assert measures["told_apart"] == 1 and measures["sample_distance"] > 0.2 and list(wrong) == ["discriminator too strong"]
    measures, wrong = examined(made("gan", **DENSE), discriminator=right(0.9), generator=far, average=far)
    assert measures["told_apart"] == pytest.approx(0.9) and wrong == {}
    measures, wrong = examined(made("gan", **DENSE), discriminator=right(1.0), generator=like_the_data, average=like_the_data)
    assert measures["told_apart"] == 1 and wrong == {}


def test_a_generator_far_from_its_own_average_oscillates():
    step = torch.tensor([10.0, 0.1, 1.0])  # one deviation of each number
    measures, wrong = examined(made("gan", **DENSE), generator=like_the_data, average=lambda noise: like_the_data(noise) - step)
    assert measures["sample_drift"] == pytest.approx(1, rel=0.1) and list(wrong) == ["oscillating"]


# --- diffusion ---


def diffusion(classes=0, **settings):
    return made("diffusion", GREY, classes, width=8, **settings).eval()


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize("levels", [20, 100, 1000])
def test_noise_grows_from_hardly_any_to_nothing_else(schedule, levels):
    kept = diffusion(levels=levels, schedule=schedule, sample_steps=1).noising.kept
    assert len(kept) == levels and kept[0] > 0.98 and kept[-1] < 1e-4 and (kept.diff() < 0).all()


def test_the_schedules_are_those_of_their_papers():
    t = torch.arange(1001, dtype=torch.float64) / 1000
    kept = ((t + 0.008) / 1.008 * math.pi / 2).cos().square()
    cosine = torch.cumprod(1 - (1 - kept[1:] / kept[:-1]).clamp(max=0.999), 0)
    linear = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    for name, expected in (("cosine", cosine), ("linear", linear)):
        assert torch.allclose(diffusion(schedule=name).noising.kept.double(), expected, rtol=1e-3, atol=1e-6), name


def test_noisy_pictures_have_the_moments_of_the_forward_process():
    method, seen = diffusion(schedule="linear"), {}
    method.encoder.noise = lambda noisy, level, label: seen.update(noisy=noisy, level=level) or torch.zeros_like(noisy)
    batch = Batch.of(x=Pixels(torch.full((4000, 1, 8, 8), 51, dtype=torch.uint8)))  # -0.6 between -1 and 1
    views = method.views(batch, Draw(0)) | {"level": torch.arange(4000) % 2 * 300 + 100}
    outputs = method(views)
    kept = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    for level in (100, 400):
        noisy = seen["noisy"][seen["level"] == level].double()
        deviation = (1 - kept[level]).sqrt().item()
        assert noisy.mean().item() == pytest.approx(-0.6 * kept[level].sqrt().item(), abs=4 * deviation / noisy.numel() ** 0.5)
        assert noisy.std().item() == pytest.approx(deviation, rel=0.02)
    assert method.loss(outputs)["noise"].item() == pytest.approx(method.chance(outputs), rel=0.02)  # nothing was named
    drawn = method.views(batch, Draw(0))["level"]
    assert drawn.min() < 10 and drawn.max() > 990 and abs(drawn.float().mean() - 499.5) < 4 * 289 / 4000**0.5


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("sample_steps", [1, 5, 50])
def test_with_the_noise_of_a_single_picture_known_exactly_that_picture_is_made(eta, sample_steps):
    method, target = diffusion(eta=eta, sample_steps=sample_steps), torch.linspace(0, 1, 64).view(1, 1, 8, 8)

    def noise(noisy, level, label):
        kept = method.noising.kept[level].float()[:, None, None, None]
        return (noisy - kept.sqrt() * (2 * target - 1)) / (1 - kept).sqrt()

    method.average.network[0].noise = noise
    assert torch.allclose(method.sample(3, Draw(0)).pixels, target.expand(3, -1, -1, -1), atol=2e-2 if sample_steps == 1 else 1e-3)


class CountedDraw(Draw):
    calls = 0

    def normal(self, *shape):
        type(self).calls += 1
        return super().normal(*shape)


@pytest.mark.parametrize(("eta", "calls"), [(0.0, 1), (0.5, 6)])
def test_without_eta_nothing_but_the_first_noise_is_random(eta, calls):
    method, CountedDraw.calls = diffusion(eta=eta, sample_steps=5), 0
    first = method.sample(2, CountedDraw(0)).pixels
    assert calls == CountedDraw.calls
    assert torch.equal(first, method.sample(2, Draw(0)).pixels) and not torch.equal(first, method.sample(2, Draw(1)).pixels)


def test_guidance_of_one_is_the_conditional_model_and_asks_it_once():
    method = diffusion(3, guidance=1.0)
    noisy, level, label = Draw(0).normal(4, 1, 8, 8), torch.full((4,), 500), torch.tensor([0, 1, 2, 2])
    network, asked = method.average.network[0], []
    plain = network.noise
    network.noise = lambda *inputs: asked.append(len(inputs[0])) or plain(*inputs)
    with torch.no_grad():
        assert torch.equal(method.guided(noisy, level, label), plain(noisy, level, label)) and asked == [4]
        of_class, of_any = plain(noisy, level, label), plain(noisy, level, torch.full_like(label, 3))
        assert (of_class - of_any).abs().max() > 1e-4
        for guidance in (0.0, 0.5, 3.0):
            method.guidance = guidance
            assert torch.allclose(method.guided(noisy, level, label), of_any + guidance * (of_class - of_any), atol=1e-5)
        asked.clear()
        assert torch.equal(method.guided(noisy, level, torch.full_like(label, 3)), of_any) and asked == [4]


def test_labels_that_are_missing_or_dropped_are_told_as_none():
    batch = batch_of(GREY, 3000, classes=3)
    batch = dataclasses.replace(batch, label=torch.where(torch.arange(3000) < 300, -1, batch.label))
    told = {drop: diffusion(3, label_drop=drop).views(batch, Draw(0))["label"] for drop in (0.0, 0.2, 1.0)}
    assert (told[0.0][:300] == 3).all() and torch.equal(told[0.0][300:], batch.label[300:])
    assert (told[1.0] == 3).all()
    dropped = told[0.2][300:] == 3
    assert abs(dropped.float().mean() - 0.2) < 4 * 0.4 / 2700**0.5 and torch.equal(told[0.2][300:][~dropped], batch.label[300:][~dropped])
    assert diffusion(3).learns_labels and not diffusion(3, label_drop=1.0).learns_labels and not diffusion().learns_labels


def test_features_are_the_middle_of_the_network_of_a_picture_as_it_is_and_know_no_label():
    encoder, seen = diffusion(3).encoder, []
    x = batch_of(GREY, 4)["x"]
    encoder.network.mid_block.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        features = encoder(x)
        encoder.noise(2 * encoder.unit(x) - 1, torch.full((4,), encoder.level), torch.full((4,), 3))
        assert torch.equal(features, seen[1].mean((2, 3))) and features.shape == (4, encoder.dim)
        encoder.network.class_embedding.weight[:3] += 1.0
        assert torch.equal(encoder(x), features)
    assert diffusion(levels=100, sample_steps=10).encoder.level == 2


@pytest.mark.parametrize(("side", "widths"), [(8, (8,)), (15, (8,)), (16, (8, 32)), (28, (8, 16, 32)), (64, (8, 16, 16, 32))])
def test_the_unet_is_halved_down_to_8_and_every_width_works(side, widths):
    encoder = UNet(InputSpec("pixels", (1, side, side), (0.5,), (0.2,)), width=8)
    assert encoder.network.config.block_out_channels == widths and encoder.dim == widths[-1]
    x = torch.rand(2, 1, side, side)
    with torch.no_grad():
        assert encoder(x).shape == (2, encoder.dim)
        assert encoder.noise(x, torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)).shape == x.shape


def test_pictures_whose_middle_would_be_too_large_are_one_clear_line():
    with pytest.raises(leaven.UserError, match="225 x 225 cannot be halved down"):
        UNet(InputSpec("pixels", (1, 225, 225), (0.5,), (0.2,)))


def test_diffusion_without_its_library_is_one_clear_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(leaven.UserError, match="diffusers, which is not installed"):
        diffusion()


# --- what samples are worth, by hand ---


def line(*points):
    return torch.tensor(points)[:, None]


def test_precision_recall_density_and_coverage_on_a_line_by_hand(monkeypatch):
    monkeypatch.setattr(generation, "ROWS", 3)
    found = likeness(line(0.0, 1.0, 3.0, 7.0), line(-0.5, 0.5, 5.0, 20.0), near=1, wide=1)  # balls reach 1, 1, 2, 4 and 1, 1, 4.5, 15
    assert {name: each.tolist() for name, each in found.items()} == {
        "precision": [1, 1, 1, 0], "recall": [1, 1, 1, 1], "density": [1, 2, 2, 0], "coverage": [1, 1, 1, 1]
    }  # fmt: skip
    found = likeness(line(0.0, 1.0, 3.0, 7.0), line(-0.5, 0.5, 20.0, 21.0), near=1, wide=2)  # and 3, 2, 3, 6 to the second
    assert {name: each.tolist() for name, each in found.items()} == {
        "precision": [1, 1, 0, 0], "recall": [1, 1, 0, 0], "density": [1, 1.5, 0, 0], "coverage": [1, 1, 1, 0]
    }  # fmt: skip


def test_a_sample_is_wholly_like_itself_and_not_at_all_like_one_far_away():
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    same, far = ({name: each.mean().item() for name, each in likeness(x, other).items()} for other in (x, x + 100))
    assert same["precision"] == same["recall"] == same["coverage"] == 1 and same["density"] > 1
    assert far == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}
    with pytest.raises(leaven.UserError, match="no neighbour number 5"):
        likeness(x[:5], x)


def test_samples_of_the_same_distribution_have_a_density_of_one_and_the_coverage_that_is_expected():
    x, y = torch.randn(2, 2000, 2, generator=torch.Generator().manual_seed(0))
    found = {name: each.mean().item() for name, each in likeness(x, y).items()}
    assert found["density"] == pytest.approx(1, abs=0.05) and found["coverage"] == pytest.approx(1 - 2**-5, abs=0.02)


def test_a_narrow_sample_is_precise_and_covers_little_and_a_wide_one_the_reverse():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 1000, 2, generator=generator)
    narrow, wide = ({name: each.mean().item() for name, each in likeness(x, scale * y).items()} for scale in (0.1, 5.0))
    assert narrow["precision"] > 0.95 and narrow["recall"] < 0.2 and narrow["coverage"] < 0.2
    assert wide["precision"] < 0.3 and wide["recall"] > 0.8


def exactly(mean, covariance, count=50):
    """Samples with exactly this mean and covariance."""
    x = torch.randn(count, len(mean), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = x - x.mean(0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(torch.atleast_2d(x.T.cov())), x.T, upper=False).T
    return torch.tensor(mean, dtype=torch.float64) + white @ torch.linalg.cholesky(torch.as_tensor(covariance, dtype=torch.float64)).T


def test_the_frechet_distance_is_the_closed_form():
    assert frechet_distance(exactly([1.0], [[4.0]]), exactly([3.0], [[0.25]])) == pytest.approx((1 - 3) ** 2 + (2 - 0.5) ** 2)
    turned = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    a, b = (turned @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ turned.T for values in ((9.0, 1.0), (4.0, 25.0)))
    assert frechet_distance(exactly([0.0, 0.0], a), exactly([1.0, 2.0], b)) == pytest.approx(5 + (3 - 2) ** 2 + (1 - 5) ** 2)
    c = torch.tensor([[2.0, 1.5], [1.5, 3.0]], dtype=torch.float64)
    expected = torch.trace(a + c).item() - 2 * sqrtm((a @ c).numpy()).real.trace()
    assert frechet_distance(exactly([0.0, 0.0], a), exactly([0.0, 0.0], c)) == pytest.approx(expected)
    x = torch.randn(10, 20)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-5)  # fewer samples than numbers
    with pytest.raises(leaven.UserError, match="no covariance"):
        frechet_distance(x[:1], x)


def test_recognised_shares_and_missing_classes_by_hand():
    logits = torch.eye(3)[[0, 0, 1, 1, 1, 0]]
    share, by_class = recognised(logits, torch.tensor([0, 0, 0, 1, 1, 1]))
    assert share == pytest.approx(4 / 6) and by_class[:2].tolist() == pytest.approx([2 / 3, 2 / 3]) and by_class[2].isnan()
    missing, found = dropped_classes(logits, torch.tensor([0.25, 0.25, 0.5]))
    assert missing == [2] and found.tolist() == [2, 2, 0]
    missing, found = dropped_classes(logits, torch.tensor([0.5, 0.5, 0.0]))
    assert missing == [] and found[2].isnan()


def test_the_floor_of_noise_has_the_mean_and_covariance_of_the_data():
    x = exactly([1.0, -2.0, 0.5], [[2.0, 0.5, 0.0], [0.5, 1.0, 0.3], [0.0, 0.3, 0.5]], 20).float()
    noise = gaussian(Vector(x), 50_000, Draw(0)).numbers
    assert torch.allclose(noise.mean(0), x.mean(0), atol=0.03) and torch.allclose(noise.T.cov(), x.T.cov(), atol=0.05)
    pictures = gaussian(batch_of(GREY)["x"], 30, Draw(0)).pixels
    assert pictures.shape == (30, 1, 8, 8) and pictures.min() >= 0 and pictures.max() <= 1


def test_spread_and_energy_distance_by_hand():
    a, b = line(0.0, 2.0), line(1.0, 3.0)
    assert deviation(a) == pytest.approx(1) and deviation(torch.tensor([[0.0, 0.0], [6.0, 8.0]])) == pytest.approx(5)
    assert energy_distance(a, b) == pytest.approx(1 - (2 + 2) / (2 * (1 + 3 + 1 + 1) / 4))
    x, y = torch.randn(2, 2000, 2, generator=torch.Generator().manual_seed(0))
    assert abs(energy_distance(x, y)) < 0.005 and energy_distance(x, y + 100) > 0.95 and energy_distance(line(0.0, 0.0), line(1.0, 1.0)) == 1


# --- the protocol ---


class Echo(Method):
    """Makes samples of the very distribution that the data of these tests has: a class is a place on a circle, and 0.1 of noise around it."""

    recipe = Recipe(optimizer="sgd", lr=1e-3, batch=32)
    purpose = "plain"
    loss_over_batch = False
    learns_labels = True

    def __init__(self, encoder, *, forgets: int = -1, views: object = None):
        super().__init__(encoder)
        self.forgets = forgets

    def forward(self, views):
        return Outputs(features=self.encoder(views[0]))

    def loss(self, outputs):
        return {"size": outputs.features.square().mean()}

    def sample(self, count, draw, label=None):
        label = draw.integers(4, count) if label is None else label
        return Vector(places(torch.where(label == self.forgets, (label + 1) % 4, label)) + 0.1 * draw.normal(count, 2))


class Unasked(Echo):
    """The same, without being told of a class."""

    learns_labels = False


def places(label):
    angle = label * math.pi / 2
    return torch.stack([angle.cos(), angle.sin()], 1)


def circle(classes=("a", "b", "c", "d"), count=600):
    label = torch.arange(count) % 4
    x = places(label) + 0.1 * torch.randn(count, 2, generator=torch.Generator().manual_seed(0))
    data = open_data((x, label))
    splits = {"train": torch.arange(count // 2), "test": torch.arange(count // 2, count)}
    return data.of("circle", data.rows, splits=splits, class_names=classes[: len(data.spec.class_names)])


@pytest.fixture(scope="module")
def circle_runs(tmp_path_factory):
    folder, data = tmp_path_factory.mktemp("circle"), circle()
    common = {"encoder": "mlp", "precision": "fp32", "report": False}
    small = {"encoder.width": 16}
    return {
        "data": data,
        "judge": leaven.pretrain(data, method="supervised", steps=60, out=folder / "judge", settings=small, **common),
        "echo": leaven.pretrain(data, method=Echo, steps=1, out=folder / "echo", settings=small, **common),
        "forgets": leaven.pretrain(data, method=Echo, steps=1, out=folder / "forgets", settings={"forgets": 2, **small}, **common),
        "unasked": leaven.pretrain(data, method=Unasked, steps=1, out=folder / "unasked", settings={"forgets": 2, **small}, **common),
        "mute": leaven.pretrain(data, method="simclr", steps=1, out=folder / "mute", settings=small, **common),
    }


def judged(runs, name, **asked):
    return leaven.evaluate(runs[name], asked.pop("data", runs["data"]), protocols=("samples",), judge=asked.pop("judge", runs["judge"]), **asked)


def test_samples_of_the_true_distribution_reach_the_ceiling_and_pass_the_floor(circle_runs):
    card = judged(circle_runs, "echo", report=False)
    ours, real, floor = (arm["samples"] for arm in (card.scores, card.floors["real"], card.floors["gaussian"]))
    assert ours["generated"] == ours["real"] == 300 and ours["judge"]["method"] == "supervised"
    for name in ("precision", "recall", "coverage"):
        low, high = ours[name]["interval"]
        assert low <= ours[name]["value"] <= high and abs(ours[name]["value"] - real[name]["value"]) < 0.1
    assert floor["coverage"]["interval"][1] < ours["coverage"]["interval"][0]
    assert ours["frechet_distance"]["value"] < floor["frechet_distance"]["value"] + 0.5
    assert ours["recognised"]["value"] > 0.98 and real["recognised"]["value"] > 0.98 and set(ours["recognised"]["by_class"]) == set("abcd")
    assert ours["missing"] == [] and "No class is missing" in card.sentence() and "100.0 % as the class" in card.sentence()
    again = judged(circle_runs, "echo", report=False)
    assert again.scores == card.scores and again.floors == card.floors
    assert type(card).from_dict(json.loads(json.dumps(card.to_dict()))).text() == card.text()
    assert card.table()[0] == ["", "generated", "real samples", "a Gaussian"]


@pytest.mark.parametrize("name", ["forgets", "unasked"])
def test_a_class_that_is_never_made_is_named(circle_runs, name):
    card = judged(circle_runs, name, count=200, report=False)
    ours = card.scores["samples"]
    assert ours["generated"] == ours["real"] == 200 and ours["missing"] == ["c"] and ours["found"]["c"] < 0.1 and ours["found"]["d"] > 1.5
    assert "Hardly ever generated: c." in card.sentence() and ours["recall"]["value"] < 0.85
    assert ("recognised" in ours) == (name == "forgets")
    if name == "forgets":
        assert ours["recognised"]["by_class"]["c"] == 0 and ours["recognised"]["value"] == pytest.approx(0.75, abs=0.02)


def test_samples_are_scored_beside_other_protocols_and_on_the_page(circle_runs, command, tmp_path):
    card = judged(circle_runs, "echo")
    assert json.loads(circle_runs["echo"].scorecard_path.read_text())["scores"]["samples"] == card.scores["samples"]
    page = (circle_runs["echo"].path / "report.html").read_text()
    assert "coverage" in page and "a Gaussian" in page
    both = leaven.evaluate(circle_runs["echo"], circle_runs["data"], protocols=("knn", "samples"), judge=circle_runs["judge"], count=50, report=False)
    assert {"knn", "samples"} == set(both.scores) and "look real" in both.sentence() and "untrained encoder" in both.sentence()
    assert len({len(row) for row in both.table()}) == 1
    np.save(tmp_path / "points.npy", circle_runs["data"].rows["x"].numbers.numpy())
    status, _, err = command("evaluate", circle_runs["echo"].path, tmp_path / "points.npy", "--protocol", "samples", "--json")
    assert status == 2 and "samples.judge" in err and "Traceback" not in err


def test_what_cannot_be_judged_is_one_clear_line(circle_runs, tmp_path):
    data, wrong = circle_runs["data"], open_data((torch.randn(60, 5), torch.arange(60) % 4))
    strangers = circle(("a", "b", "c", "e"))
    calls = [
        (lambda: judged(circle_runs, "mute"), "makes no new samples"),
        (lambda: judged(circle_runs, "echo", judge=None), "judged by a run that classifies"),
        (lambda: judged(circle_runs, "echo", judge=circle_runs["echo"]), "has learned no classes"),
        (lambda: judged(circle_runs, "echo", data=wrong), "reads 2 numbers per sample, and the data has 5"),
        (lambda: judged(circle_runs, "echo", data=strangers), "has no class 'e'"),
        (lambda: judged(circle_runs, "echo", count=0), "samples.count must be at least 1"),
        (lambda: judged(circle_runs, "echo", count=4), "no neighbour number 5"),
        (lambda: leaven.evaluate(circle_runs["echo"], data, protocols=("knn",), judge=circle_runs["judge"]), "is an option of samples"),
    ]
    for call, words in calls:
        with pytest.raises(leaven.UserError, match=words):
            call()


def test_a_class_cannot_be_asked_of_a_run_that_was_not_told_of_any(circle_runs, tmp_path):
    with pytest.raises(leaven.UserError, match="makes no samples of a class"):
        leaven.sample(circle_runs["unasked"], 3, label="a")
    run = leaven.pretrain(circle_runs["data"], method="gan", steps=2, out=tmp_path / "gan", settings=DENSE, report=False)
    with pytest.raises(leaven.UserError, match="makes no samples of a class"):
        leaven.sample(run, 3, label="a")


# --- they learn ---


def modes_of_a_ring(count=800):
    """Eight Gaussians on a circle: samples, their modes by number, and the places of the modes."""
    label = torch.arange(count) % 8
    angle = torch.arange(8) * math.pi / 4
    modes = 2 * torch.stack([angle.cos(), angle.sin()], 1)
    return modes[label] + 0.2 * torch.randn(count, 2, generator=torch.Generator().manual_seed(0)), label, modes


def test_a_gan_makes_every_mode_of_a_ring_and_is_healthy(tmp_path):
    x, _, modes = modes_of_a_ring()
    run = leaven.pretrain(x, method="gan", steps=1600, out=tmp_path / "run", precision="fp32", report=False)
    distance, nearest = torch.cdist(torch.from_numpy(leaven.sample(run, 1000)), modes).min(1)
    assert (distance < 0.8).float().mean() > 0.85  # four deviations
    assert nearest[distance < 0.8].bincount(minlength=8).min() > 40
    assert run.health == [], run.health


def test_wgan_gp_makes_the_class_that_is_asked_for(tmp_path):
    x, label, modes = modes_of_a_ring()
    x, label, modes = x[label % 2 == 0], label[label % 2 == 0] // 2, modes[::2]
    settings = {"width": 64, "conditional": True, "momentum": 0.98, "recipe.lr": 1e-3, "recipe.schedule": "cosine"}
    run = leaven.pretrain((x, label), method="wgan_gp", steps=1200, out=tmp_path / "run", settings=settings, precision="fp32", report=False)
    asked = [torch.cdist(torch.from_numpy(leaven.sample(run, 200, label=str(mode))), modes).argmin(1) for mode in range(4)]
    right = [(found == mode).float().mean().item() for mode, found in enumerate(asked)]
    assert min(right) > 0.8, right
    assert torch.cdist(torch.from_numpy(leaven.sample(run, 400)), modes).argmin(1).bincount(minlength=4).min() > 40
    assert run.health == [], run.health


def test_diffusion_learns_the_mean_and_spread_of_small_pictures_and_makes_the_shade_that_is_asked_for(tmp_path):
    label = torch.arange(400) % 2
    shade = torch.tensor([0.25, 0.7])[label] + 0.05 * torch.randn(400, generator=torch.Generator().manual_seed(0))
    pictures = (255 * shade.clamp(0, 1)).round().to(torch.uint8)[:, None, None, None].expand(-1, 1, 4, 4).contiguous()
    settings = {"width": 16, "levels": 100, "sample_steps": 20, "eta": 1.0, "guidance": 1.0, "label_drop": 0.2, "momentum": 0.98, "recipe.lr": 3e-3}
    run = leaven.pretrain(
        (pictures, label), method="diffusion", steps=400, batch=32, out=tmp_path / "run", settings=settings, precision="fp32", report=False
    )
    made = leaven.sample(run, 200)
    assert made.mean() == pytest.approx(0.475, abs=0.06) and made.mean((1, 2, 3)).std() == pytest.approx(0.23, abs=0.06)
    assert made.std((1, 2, 3)).mean() < 0.04
    for name, mean in (("0", 0.25), ("1", 0.7)):
        asked = leaven.sample(run, 100, label=name).mean((1, 2, 3))
        assert asked.mean() == pytest.approx(mean, abs=0.06) and asked.std() < 0.12
    assert trained_method(run).average.updates == 400
