"""MADE, the causal CNN, VAE and VQ-VAE: probabilities that sum to one, orders that are kept, bounds that hold, codes that live."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import leaven
from leaven.data import Batch, open_data
from leaven.data.spec import DataSpec
from leaven.draw import Draw
from leaven.encoders import build_encoder
from leaven.encoders.dense import MaskedDense
from leaven.losses.variational import gaussian_kl, gaussian_log_prob, log_mean_exp
from leaven.methods.method import Outputs
from leaven.methods.registry import build_method, find_method
from leaven.modalities import InputSpec, Pixels, Vector
from leaven.modules.codebook import Codebook, perplexity, straight_through
from leaven.modules.decoder import ValueDecoder


def binary_numbers(values):
    return InputSpec("vector", (values,), (0.5,) * values, (0.5,) * values)


def pictures_of(*shape, binary=True):
    return InputSpec("pixels", shape, (0.5,) * shape[0], (0.5 if binary else 0.3,) * shape[0])


def model(name, input, encoder=None, *, sharp=1.0, classes=0, **settings):
    """A small one in float64, with weights that say something before any training."""
    torch.manual_seed(0)
    encoders = {"x": build_encoder(*encoder[:1], input, encoder[1])} if encoder else {}
    method, _ = build_method(find_method(name), DataSpec(100, {"x": input}, classes, 100 if classes else 0), encoders, settings)
    for parameter in method.parameters():
        parameter.data.mul_(sharp)
    return method.double().eval()


def every(input):
    """All binary samples of a shape, as a value; and as a tensor (2 ** values, values)."""
    values = math.prod(input.shape)
    numbers = torch.tensor(list(itertools.product((0.0, 1.0), repeat=values)), dtype=torch.float64)
    return Vector(numbers) if input.modality == "vector" else Pixels(numbers.unflatten(1, input.shape)), numbers


def frequencies(samples):
    """How often each binary sample occurs, in the order of `every`."""
    places = 2 ** torch.arange(samples.shape[1] - 1, -1, -1)
    return (samples.long() @ places).bincount(minlength=2 ** samples.shape[1]).double() / len(samples)


# --- MADE ---

ORDERS = [
    {"orderings": 1},
    {"orderings": 1, "order": "random"},
    {"orderings": 3},
    {"orderings": 4, "order": "random", "widths": (7, 12), "direct": False},
]


@pytest.mark.parametrize("settings", ORDERS)
def test_made_probabilities_of_all_samples_sum_to_one(settings):
    method = model(
        "made", binary_numbers(10), widths=settings.get("widths", (13,)), sharp=3.0, **{k: v for k, v in settings.items() if k != "widths"}
    )
    log_prob = method.log_prob(every(method.encoder.input)[0], Draw(0))
    assert log_prob.exp().sum().item() == pytest.approx(1.0, abs=1e-9)
    assert log_prob.std() > 0.5


@pytest.mark.parametrize("settings", ORDERS)
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_made_is_autoregressive_in_every_order(settings, likelihood):
    method = model("made", binary_numbers(9), likelihood=likelihood, **{"widths": (13,), **settings})
    target = torch.rand(9, dtype=torch.float64)
    for ordering, places in enumerate(method.encoder.places):
        jacobian = torch.autograd.functional.jacobian(lambda x, ordering=ordering: method.conditionals(x[None], ordering)[0], target)
        depends = (jacobian != 0).any(1)
        before = places[:, None] > places
        assert not (depends & ~before).any()
        if settings.get("direct", True):
            assert depends[before].all()
    assert settings["orderings"] == 1 or len(method.encoder.places.unique(dim=0)) > 1


def test_made_reads_colours_in_order_too():
    method = model("made", pictures_of(3, 2, 2), widths=(9,), likelihood="categorical", levels=4)
    jacobian = torch.autograd.functional.jacobian(lambda x: method.conditionals(x[None], 0)[0], torch.ones(12, dtype=torch.float64))
    assert torch.equal((jacobian != 0).any(1), torch.ones(12, 12).tril(-1).bool())


def test_made_orders_are_natural_or_random_and_each_value_has_its_place():
    for order in ("natural", "random"):
        encoder = MaskedDense(binary_numbers(20), widths=(8,), orderings=3, order=order)
        assert torch.equal(encoder.places.sort(1).values, torch.arange(1.0, 21).expand(3, -1))
        assert torch.equal(encoder.places[0], torch.arange(1.0, 21)) == (order == "natural")
        again = MaskedDense(binary_numbers(20), widths=(8,), orderings=3, order=order)
        assert torch.equal(again.places, encoder.places)


def test_units_of_made_see_as_many_values_as_their_degree_says():
    encoder = MaskedDense(binary_numbers(9), widths=(16, 5), activation="tanh", orderings=2).double()
    for ordering, places in enumerate(encoder.places):
        jacobian = torch.autograd.functional.jacobian(lambda x, o=ordering: encoder.hidden(x[None], o)[0], torch.rand(9, dtype=torch.float64))
        assert torch.equal(jacobian != 0, encoder.degrees(-1)[:, None] >= places)
    assert encoder.degrees(0).min() == 1 and encoder.degrees(0).max() == 8


def toy(count=200):
    """A data set over 6 binary values, seen as the distribution itself; and its entropy."""
    generator = torch.Generator().manual_seed(0)
    first = torch.rand(count, 3, generator=generator) < torch.tensor([0.7, 0.3, 0.5])
    rest = torch.stack([first[:, 0] ^ first[:, 1], first[:, 1] & first[:, 2], first[:, 0] | (torch.rand(count, generator=generator) < 0.1)], 1)
    samples = torch.cat([first, rest], 1).double()
    return samples, torch.special.entr(frequencies(samples)).sum().item()


def fitted(method, samples, steps=150, lr=0.05):
    """After some steps of Adam on all samples at once, with the orders that the draws give."""
    optimizer = torch.optim.Adam(method.parameters(), lr=lr)
    batch = Batch.of(x=Vector(samples))
    for step in range(steps):
        optimizer.zero_grad()
        sum(method.loss(method(method.views(batch, Draw(0, step)))).values()).backward()
        optimizer.step()
    return method


def test_made_comes_near_the_entropy_of_its_data_and_ensembles_never_below():
    samples, entropy = toy()
    method = fitted(model("made", binary_numbers(6), widths=(20,), orderings=6, order="random"), samples)
    target = samples
    with torch.no_grad():
        together = -method.log_prob(Vector(samples), Draw(0)).mean().item()
        each = [method.conditionals(target, ordering) for ordering in range(6)]
        alone = [-method.likelihood.log_prob(conditionals, target).mean().item() for conditionals in each]
        logits = -method.likelihood.log_prob(torch.stack(each).mean(0), target).mean().item()
    assert entropy - 1e-9 <= together < entropy + 0.1
    assert all(nats >= entropy - 1e-9 for nats in alone) and together <= sum(alone) / 6
    assert logits < entropy  # which the mean of logits can be, as it is no distribution


def test_made_samples_have_the_probabilities_that_it_gives():
    method = model("made", binary_numbers(4), widths=(6,), orderings=2, sharp=3.0)
    value, _ = every(method.encoder.input)
    with torch.no_grad():
        probability, found = method.log_prob(value, Draw(0)).exp(), frequencies(method.sample(20_000, Draw(1)).numbers)
        assert torch.equal(method.sample(9, Draw(1)).numbers, method.sample(9, Draw(1)).numbers)
    assert ((found - probability).abs() < 5 * (probability * (1 - probability) / 20_000).sqrt() + 1e-4).all()


def test_made_of_real_numbers_samples_what_it_learned():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(500, 1, generator=generator)
    numbers = torch.cat([a, 2 * a + 0.5 * torch.randn(500, 1, generator=generator), torch.randn(500, 1, generator=generator)], 1).double()
    data = open_data(numbers)
    method, _ = build_method(find_method("made"), data.spec, {}, {"widths": (16,)})
    assert method.likelihood.name == "gaussian"
    fitted(method.double(), numbers, steps=200, lr=0.02)
    with torch.no_grad():
        samples = method.sample(4000, Draw(0)).numbers.double()
        nats = -method.log_prob(Vector(numbers), Draw(0)).mean().item()
    assert torch.allclose(samples.T.cov(), numbers.T.cov(), atol=0.25)
    best = (
        torch.distributions.MultivariateNormal(numbers.mean(0), numbers.T.cov()).log_prob(numbers).mean().item()
        + numbers.std(0, correction=0).log().sum().item()
    )
    assert nats == pytest.approx(-best, abs=0.05)


def test_a_step_of_made_trains_one_order_whatever_the_parts_of_its_batch():
    method = model("made", binary_numbers(5), widths=(6,), orderings=4)
    batch = Batch.of(x=Vector(every(method.encoder.input)[1][:8]))
    seen = set()
    for step in range(40):
        whole = method.views(batch, Draw(0, step))["ordering"]
        halves = [method.views(batch.select(torch.arange(4)), Draw(0, step, part=part, parts=2))["ordering"] for part in (0, 1)]
        assert len(whole.unique()) == 1 and all((half == whole[0]).all() for half in halves)
        seen.add(whole[0].item())
    assert seen == {0, 1, 2, 3}


@pytest.mark.parametrize(("settings", "told"), [({"orderings": 0}, "orderings must be 1 or more"), ({"order": "spiral"}, "choose natural or random")])
def test_made_refuses_orders_that_are_none(settings, told):
    with pytest.raises(leaven.UserError, match=told):
        model("made", binary_numbers(4), **settings)


# --- the causal CNN ---

NARROW = {"width": 4, "kernel": 3, "head": 5}


@pytest.mark.parametrize("shape", [(1, 3, 4), (3, 2, 2), (1, 1, 11)])
@pytest.mark.parametrize("classes", [0, 2])
def test_causal_cnn_probabilities_of_all_samples_sum_to_one(shape, classes):
    method = model("causal_cnn", pictures_of(*shape), sharp=2.0, classes=classes, conditional=bool(classes), layers=3, **NARROW)
    with torch.no_grad():
        log_prob = method.log_prob(every(method.encoder.input)[0], Draw(0))
    assert log_prob.exp().sum().item() == pytest.approx(1.0, abs=1e-9)
    assert log_prob.std() > 0.2


@pytest.mark.parametrize("levels", [2, 5])
def test_causal_cnn_depends_on_what_comes_before_in_rows_and_channels_and_on_nothing_else(levels):
    shape = 3, 4, 5
    method = model("causal_cnn", pictures_of(*shape), layers=4, likelihood="categorical", levels=levels, **NARROW)
    target = (torch.rand(60, dtype=torch.float64) * 0.8 + 0.1) * (levels - 1)
    jacobian = torch.autograd.functional.jacobian(lambda x: method.conditionals(x[None], None)[0].sum(1), target)
    channel, row, column = (grid.flatten() for grid in torch.meshgrid(*(torch.arange(side) for side in shape), indexing="ij"))
    place = (row * shape[2] + column) * shape[0] + channel  # the order in which values are read
    before = place[:, None] > place
    assert (jacobian[~before] == 0).all()
    assert (jacobian[before] != 0).all()  # four layers of 3 x 3 reach all over, and there is no blind spot


def test_causal_cnn_of_classes_is_their_mixture():
    method = model("causal_cnn", pictures_of(1, 2, 3), sharp=2.0, classes=3, conditional=True, layers=2, **NARROW)
    value, target = every(method.encoder.input)
    with torch.no_grad():
        each = torch.stack([method.likelihood.log_prob(method.conditionals(target, torch.full((64,), label)), target).exp() for label in range(3)])
        together = method.log_prob(value, Draw(0)).exp()
    assert torch.allclose(together, each.mean(0)) and torch.allclose(each.sum(1), torch.ones(3).double())
    assert (each[0] - each[1]).abs().max() > 1e-3
    assert not torch.equal(method.layers[0].condition.weight, torch.zeros(3, 8)) and all(layer.condition is None for layer in method.encoder.layers)


@pytest.mark.parametrize(("shape", "levels"), [((1, 4, 5), 2), ((3, 3, 4), 5)])
def test_causal_cnn_samples_row_by_row_what_it_would_value_by_value(shape, levels):
    method = model("causal_cnn", pictures_of(*shape), sharp=2.0, classes=2, conditional=True, likelihood="categorical", levels=levels, **NARROW)
    label, draw = torch.tensor([0, 1, 1, 0, 1]), Draw(5)
    with torch.no_grad():
        found = method.likelihood.observe(method.sample(5, draw, label))
        target, values = torch.zeros(5, math.prod(shape), dtype=torch.float64), draw.child("values")
        for row, column, channel in itertools.product(*(range(side) for side in (*shape[1:], shape[0]))):
            place = (channel * shape[1] + row) * shape[2] + column
            target[:, place] = method.likelihood.sample(method.conditionals(target, label)[:, place : place + 1], values)[:, 0]
    assert torch.equal(found.double(), target) and len(target.unique(dim=0)) > 1


def test_causal_cnn_samples_have_the_probabilities_that_it_gives():
    method = model("causal_cnn", pictures_of(1, 2, 2), sharp=2.0, layers=2, **NARROW)
    with torch.no_grad():
        probability = method.log_prob(every(method.encoder.input)[0], Draw(0)).exp()
        found = frequencies(method.sample(20_000, Draw(1)).pixels.flatten(1))
    assert ((found - probability).abs() < 5 * (probability * (1 - probability) / 20_000).sqrt() + 1e-4).all()


def test_causal_cnn_without_classes_refuses_to_make_one_and_without_labels_to_learn_them():
    with pytest.raises(leaven.UserError, match="knows no classes"):
        model("causal_cnn", pictures_of(1, 2, 2), **NARROW).sample(1, Draw(0), torch.zeros(1, dtype=torch.int64))
    with pytest.raises(leaven.UserError, match="needs a label for every sample, and 0 of 100 have one"):
        model("causal_cnn", pictures_of(1, 2, 2), conditional=True, **NARROW)
    assert model("causal_cnn", pictures_of(1, 2, 2), classes=2, conditional=True, **NARROW).learns_labels
    assert not model("causal_cnn", pictures_of(1, 2, 2), classes=2, **NARROW).learns_labels


# --- VAE ---

DENSE = "dense", {"widths": (6,), "last": "tanh"}


def outputs_of(method, x, noise=0):
    return method(method.views(Batch.of(x=x), Draw(noise)))


def test_the_divergence_is_that_of_monte_carlo():
    mean, log_variance = torch.tensor([[0.5, -1.0, 0.0]], dtype=torch.float64), torch.tensor([[0.3, -2.0, 0.0]], dtype=torch.float64)
    codes = mean + (0.5 * log_variance).exp() * torch.randn(400_000, 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    each = (gaussian_log_prob(codes, mean, log_variance) - gaussian_log_prob(codes, 0 * mean, 0 * mean))[:, 0]
    assert gaussian_kl(mean, log_variance).sum().item() == pytest.approx(each.mean().item(), abs=4 * (each.std() / 400_000**0.5).item())
    normal = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    assert torch.allclose(gaussian_kl(mean, log_variance), torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)))
    assert torch.allclose(gaussian_log_prob(codes[:5].movedim(0, 1), mean, log_variance)[0], normal.log_prob(codes[:5, 0]).sum(1))


class Linear:
    """x = W z + b + noise, whose log p(x) is known: N(b, W W' + deviation^2). q is the exact posterior, or not quite it."""

    def __init__(self, exact=True, **settings):
        generator = torch.Generator().manual_seed(0)
        input = InputSpec("vector", (5,), (0.0,) * 5, (1.0,) * 5)
        self.method = model("vae", input, ("dense", {"widths": (5,), "last": "linear"}), code=2, likelihood="gaussian", **settings)
        weight = torch.linalg.qr(torch.randn(5, 2, generator=generator, dtype=torch.float64)).Q * torch.tensor([1.5, 0.7])
        shift = torch.randn(5, generator=generator, dtype=torch.float64)
        decode, likelihood, encoder = nn.Linear(2, 5).double(), self.method.likelihood, self.method.encoder
        decode.weight.data, decode.bias.data = weight, shift
        self.method.decoder = ValueDecoder(nn.Sequential(decode), 1)
        likelihood.change.data.fill_(-0.07)
        variance = likelihood.logarithm(torch.zeros(1, 5, 1)).exp().item() ** 2
        precision = weight.square().sum(0) / variance + 1  # columns of W are orthogonal, so that the posterior is diagonal
        off = 0.0 if exact else 0.3
        identity = torch.eye(5, dtype=torch.float64)
        encoder.inner.layers[0].weight.data, encoder.inner.layers[0].bias.data = identity, torch.zeros(5, dtype=torch.float64)
        encoder.code.weight.data = weight.T / variance / precision[:, None]
        encoder.code.bias.data = -encoder.code.weight.data @ shift + off
        self.method.log_variance.weight.data.zero_()
        self.method.log_variance.bias.data = -precision.log() + 2 * off
        truth = torch.distributions.MultivariateNormal(shift, weight @ weight.T + variance * identity)
        self.x = Vector(truth.sample((64,)).float())
        self.log_p = truth.log_prob(self.x.numbers.double())

    def elbo(self, draws=200):
        """The bound of one code, in expectation: reconstructions of many draws less the KL."""
        terms = [self.method.loss(outputs_of(self.method, self.x, draw)) for draw in range(draws)]
        return -sum(sum(term.values()) for term in terms) / draws


@torch.no_grad()
def test_with_the_exact_posterior_every_bound_is_the_likelihood_itself():
    linear = Linear(bound_samples=3)
    assert torch.allclose(linear.method.log_prob(linear.x, Draw(0)), linear.log_p, atol=1e-6)
    linear.method.samples = 4
    views = linear.method.views(Batch.of(x=linear.x), Draw(0))
    assert linear.method.loss(linear.method(views))["bound"].item() == pytest.approx(-linear.log_p.mean().item(), abs=1e-6)


@torch.no_grad()
def test_the_bounds_lie_in_order_below_the_likelihood_of_a_linear_model():
    linear = Linear(exact=False, bound_samples=5000)
    elbo, tight, truth = linear.elbo().item(), linear.method.log_prob(linear.x, Draw(0)).mean().item(), linear.log_p.mean().item()
    linear.method.bound_samples = 10
    ten = linear.method.log_prob(linear.x, Draw(0)).mean().item()
    assert elbo + 0.05 < ten + 0.02 < tight < truth + 0.01
    assert tight == pytest.approx(truth, abs=0.01)


@torch.no_grad()
def test_the_bound_of_one_sample_is_the_elbo_in_expectation():
    linear = Linear(exact=False, bound_samples=1)
    singles = torch.stack([linear.method.log_prob(linear.x, Draw(draw)).mean() for draw in range(400)])
    assert singles.mean().item() == pytest.approx(linear.elbo(400).item(), abs=4 * (singles.std() * (2 / 400) ** 0.5).item())


@torch.no_grad()
def test_the_bound_does_not_depend_on_how_its_samples_are_cut_into_parts(monkeypatch):
    linear = Linear(exact=False, bound_samples=64)
    first = linear.method.log_prob(linear.x, Draw(3))
    assert torch.equal(first, linear.method.log_prob(linear.x, Draw(3)))
    assert not torch.equal(first, linear.method.log_prob(linear.x, Draw(4)))
    monkeypatch.setattr("leaven.methods.latent.vae.AT_ONCE", 64 * 5 * 7)
    assert linear.method.log_prob(linear.x, Draw(3)).mean().item() == pytest.approx(linear.log_p.mean().item(), abs=0.1)
    assert log_mean_exp(torch.tensor([[1.0, 1.0], [0.0, math.log(3)]])).tolist() == pytest.approx([1.0, math.log(2)])


@torch.no_grad()
def test_a_decoder_that_reads_values_in_turn_gives_each_code_probabilities_that_sum_to_one_and_samples_that_have_them():
    method = model("vae", binary_numbers(4), DENSE, code=2, decoder="autoregressive", sharp=3.0)
    _, target = every(binary_numbers(4))
    for code in torch.randn(2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64):
        outputs = method.decoded(code.expand(16, 1, 2), target)[:, 0]
        probabilities = method.likelihood.log_prob(outputs, target).exp()
        assert probabilities.sum().item() == pytest.approx(1, abs=1e-9)
        drawn = method.one_by_one(code.expand(20_000, 2), lambda outputs: method.likelihood.sample(outputs, DRAW))
        assert (frequencies(drawn) - probabilities).abs().max() < 0.015
    assert method.sample(3, Draw(0)).numbers.shape == (3, 4)
    first = method.decode(torch.zeros(1, 2, dtype=torch.float64)).numbers
    assert first[0, 0] == method.likelihood.mean(method.decoded(torch.zeros(1, 1, 2, dtype=torch.float64), target[:1])[:, 0])[0, 0]


DRAW = Draw("values")


def test_a_value_of_such_a_decoder_depends_on_the_code_and_on_values_before_it():
    method = model("vae", binary_numbers(5), DENSE, code=2, decoder="autoregressive")
    code, target = torch.ones(1, 1, 2, dtype=torch.float64), torch.full((1, 5), 0.5, dtype=torch.float64)
    by_values = torch.autograd.functional.jacobian(lambda target: method.decoded(code, target)[0, 0, :, 0], target)[:, 0]
    by_code = torch.autograd.functional.jacobian(lambda code: method.decoded(code, target)[0, 0, :, 0], code)[:, 0, 0]
    assert torch.equal(by_values != 0, torch.ones(5, 5).tril(-1).bool())
    assert (by_code != 0).all()


@torch.no_grad()
def test_samples_of_a_linear_model_have_its_moments():
    linear = Linear()
    weight, shift = linear.method.decoder.layers[0].weight, linear.method.decoder.layers[0].bias
    variance = linear.method.likelihood.logarithm(torch.zeros(1, 5, 1)).exp() ** 2
    samples = linear.method.sample(40_000, Draw(0)).numbers
    assert torch.allclose(samples.mean(0), shift, atol=0.05)
    assert torch.allclose(samples.T.cov(), weight @ weight.T + variance * torch.eye(5), atol=0.08)
    codes = linear.method.encoder(linear.x)
    assert torch.allclose(linear.method.decode(codes).numbers, codes @ weight.T + shift)


@torch.no_grad()
def test_new_pictures_are_the_expected_ones_at_random_codes_and_other_samples_are_drawn():
    pictures, numbers = (model("vae", input, DENSE, code=2, likelihood="bernoulli") for input in (pictures_of(1, 2, 2), binary_numbers(4)))
    codes = Draw(0).child("codes").normal(50, 2).double()
    assert torch.equal(pictures.sample(50, Draw(0)).pixels, pictures.decode(codes).pixels)
    assert pictures.sample(50, Draw(0)).pixels.unique().numel() > 2
    assert numbers.sample(50, Draw(0)).numbers.unique().tolist() == [0, 1]


def terms_of(method, mean, log_variance):
    """The loss of outputs with this posterior, whose reconstruction says nothing of 4 binary values."""
    rows = len(mean)
    decoded = torch.zeros(rows, 1, 4, 1, dtype=torch.float64)
    return method.loss(Outputs(mean=mean, log_variance=log_variance, codes=mean[:, None], decoded=decoded, target=torch.zeros(rows, 4)))


def vae(**settings):
    return model("vae", binary_numbers(4), DENSE, code=2, **settings)


def test_the_loss_sums_over_values_and_numbers_of_the_code_and_is_a_mean_over_the_batch():
    mean, log_variance = torch.tensor([[1.0, 2.0], [3.0, 0.0]]).double(), torch.zeros(2, 2).double()
    terms = terms_of(vae(), mean, log_variance)
    assert terms["reconstruction"].item() == pytest.approx(4 * math.log(2))
    assert terms["kl"].item() == pytest.approx((0.5 * 1 + 0.5 * 4 + 0.5 * 9) / 2)
    assert terms_of(vae(beta=3.0), mean, log_variance)["kl"].item() == pytest.approx(3 * 3.5)


def test_annealing_rises_from_nothing_to_beta_and_stays():
    method = vae(annealing=0.4, beta=2.0)
    mean, log_variance = torch.ones(3, 2).double(), torch.zeros(3, 2).double()
    found = []
    for progress in (0.0, 0.1, 0.2, 0.4, 0.7, 1.0):
        method.after_step(Outputs(), progress)
        found.append(terms_of(method, mean, log_variance)["kl"].item())
    assert found[0] == 0.0 and found[1:] == pytest.approx([0.5, 1.0, 2.0, 2.0, 2.0])


def test_the_weight_is_nothing_at_the_first_step_of_a_training_and_whole_at_the_last(tmp_path):
    run = leaven.pretrain("demo:digits", method="vae", encoder="dense", steps=10, batch=64, out=tmp_path, settings={"annealing": 0.9}, report=False)
    kl = [row["kl"] for row in run.metrics]
    assert kl[0] == 0.0 and min(kl[1:]) > 0


def test_free_bits_hold_for_each_number_of_the_code_after_the_mean_of_the_batch():
    method = vae(free_bits=0.5)
    mean = torch.tensor([[2.0, 0.2], [0.0, 0.2]]).double().requires_grad_()  # KL: 2 and 0, whose mean 1 is above; 0.02 twice, below
    kl = terms_of(method, mean, torch.zeros(2, 2).double())["kl"]
    assert kl.item() == pytest.approx(1.0 + 0.5)
    (gradient,) = torch.autograd.grad(kl, mean)
    assert gradient[0, 0] > 0 and (gradient[:, 1] == 0).all()


def test_many_samples_bound_the_likelihood_closer_than_one():
    linear = Linear(exact=False)
    means = []
    for samples in (1, 5, 50):
        linear.method.samples = samples
        with torch.no_grad():
            losses = [sum(linear.method.loss(outputs_of(linear.method, linear.x, draw)).values()) for draw in range(20)]
        means.append(torch.stack(losses).mean().item())
    assert means[0] > means[1] + 0.02 > means[2] + 0.03 and means[2] > -linear.log_p.mean().item() - 0.01


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"decoder": "best"}, "decoder cannot be 'best'"),
        ({"beta": -1}, "beta must be 0 or more"),
        ({"annealing": 1.5}, "annealing must be from 0 to 1"),
        ({"samples": 0}, "samples must be 1 or more"),
        ({"samples": 5, "free_bits": 0.1}, "free_bits belong to the KL"),
        ({"likelihood": "poisson"}, "no likelihood is named 'poisson'"),
    ],
)
def test_wrong_settings_of_a_vae_are_one_clear_line(settings, told):
    with pytest.raises(leaven.UserError, match=told) as caught:
        vae(**settings)
    assert "\n" not in str(caught.value)


def test_numbers_that_the_likelihood_cannot_take_are_refused_with_one_line_when_a_model_meets_them(tmp_path):
    run = leaven.pretrain(torch.rand(64, 5), method="vae", steps=2, batch=32, out=tmp_path, settings={"likelihood": "bernoulli"}, report=False)
    with pytest.raises(leaven.UserError, match="bernoulli likelihood needs numbers from 0 to 1, and these reach from -"):
        leaven.score(run, torch.randn(64, 5))


def test_columns_that_are_the_same_throughout_are_told(tmp_path):
    said = []
    points = torch.randn(64, 5).index_fill(1, torch.tensor([1, 3]), 2.0)
    leaven.pretrain(points, method="vae", steps=2, batch=32, out=tmp_path, say=said.append, report=False)
    assert "2 of the 5 columns are the same in all training samples: encoders read them as 0" in said


@pytest.mark.parametrize(("beta", "verdicts"), [(30.0, ["posterior collapse"]), (1.0, [])])
def test_a_collapsed_posterior_is_told(beta, verdicts, tmp_path):
    settings = {"beta": beta, "encoder.widths": "64"}
    run = leaven.pretrain("demo:digits", method="vae", encoder="dense", steps=250, batch=64, out=tmp_path, settings=settings, report=False)
    assert [verdict["verdict"] for verdict in run.health] == verdicts
    last = [row for row in run.metrics if "kl_nats" in row][-1]
    assert (last["kl_nats"] < 0.1 and last["active_units"] == 0) if verdicts else (last["kl_nats"] > 1 and last["active_units"] >= 2)


# --- VQ-VAE ---

SMALL_CODES = {"codes": 6, "size": 3, "decoder_width": 8}
CONV = "convnet", {"width": 4, "features": 8}


def vqvae(**settings):
    return model("vqvae", pictures_of(1, 16, 16), CONV, **{**SMALL_CODES, **settings})


def test_the_gradient_passes_the_codebook_as_if_it_were_not_there():
    vectors, codes = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3)
    assert torch.allclose(straight_through(vectors, codes), codes)
    jacobian = torch.autograd.functional.jacobian(lambda v: straight_through(v, codes).flatten(), vectors).view(12, 12)
    assert torch.equal(jacobian, torch.eye(12))


def test_the_nearest_code_is_the_nearest():
    book = Codebook(7, 3).double()
    vectors = torch.randn(5, 4, 3, dtype=torch.float64)
    expected = [[min(range(7), key=lambda k: (vector - book.weight[k]).square().sum().item()) for vector in row] for row in vectors]
    assert book.nearest(vectors).tolist() == expected
    assert torch.equal(book(book.nearest(vectors))[2, 1], book.weight[expected[2][1]])


def test_perplexity_is_the_number_of_codes_in_even_use():
    assert perplexity(torch.zeros(3, 5, dtype=torch.int64), 8) == 1.0
    assert perplexity(torch.arange(8).repeat(3), 8) == pytest.approx(8.0)
    assert perplexity(torch.tensor([0, 0, 0, 1]), 8) == pytest.approx(math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25))))


def test_codes_follow_the_running_means_of_what_they_take():
    book, momentum = Codebook(3, 2).double(), 0.9
    count, total = torch.ones(3).double(), book.weight.data.clone()
    for step in range(4):
        generator = torch.Generator().manual_seed(step)
        vectors, chosen = torch.randn(6, 2, generator=generator, dtype=torch.float64), torch.tensor([0, 0, 1, 0, 1, 0])
        book.follow(vectors, chosen, momentum)
        for code in range(3):  # van den Oord et al. 2017, eq. 6-8
            mine = vectors[chosen == code]
            count[code] = momentum * count[code] + (1 - momentum) * len(mine)
            total[code] = momentum * total[code] + (1 - momentum) * mine.sum(0)
    assert torch.allclose(book.usage, count) and torch.allclose(book.weight, total / count[:, None])


def test_dead_codes_begin_anew_at_the_first_vectors_and_no_others_move():
    book = Codebook(4, 2)
    book.usage.copy_(torch.tensor([3.0, 0.01, 4.0, 0.0]))
    before, vectors = book.weight.data.clone(), torch.randn(8, 2)
    book.restart(vectors, 0.1)
    assert torch.equal(book.weight[[1, 3]], vectors[:2]) and torch.equal(book.weight[[0, 2]], before[[0, 2]])
    assert book.usage.tolist() == [3.0, 2.0, 4.0, 2.0]
    book.restart(vectors[:1], 1.0)
    assert torch.equal(book.weight[3], vectors[1])  # of too few vectors each is given once


def test_which_vectors_dead_codes_take_is_drawn_and_the_same_for_every_cut_of_the_batch():
    method = vqvae(restart=0.9)
    batch = open_data("demo:digits").rows.select(torch.arange(8))
    whole = method.views(batch, Draw(0))["order"]
    halves = [method.views(batch.select(torch.arange(4) + 4 * part), Draw(0, part=part, parts=2))["order"] for part in (0, 1)]
    assert torch.equal(torch.cat(halves), whole)
    outputs = method(method.views(batch, Draw(0)))
    method.encoder.codebook.usage.copy_(torch.tensor([99.0, 99, 99, 0, 99, 99]))
    method.after_step(outputs, 0.0)
    expected = outputs.vectors.flatten(0, 1)[outputs.order.flatten().argmin()]
    assert torch.equal(method.encoder.codebook.weight[3], expected)


def test_the_terms_of_vqvae_by_hand_and_where_their_gradients_go():
    for update in ("mean", "loss"):
        method = vqvae(update=update, commitment=0.5)
        vectors = torch.tensor([[[1.0, 0.0, 0.0]], [[0.0, 3.0, 0.0]]]).double().requires_grad_()
        codes = torch.zeros(2, 1, 3).double().requires_grad_()
        decoded = torch.zeros(2, 256, 1).double()
        terms = method.loss(
            Outputs(vectors=vectors, codes=codes, chosen=torch.zeros(2, 1).long(), decoded=decoded, target=torch.zeros(2, 256).double())
        )
        assert terms["reconstruction"].item() == pytest.approx(256 * math.log(2))
        assert terms["commitment"].item() == pytest.approx(0.5 * (1 + 9) / 2)
        gradients = torch.autograd.grad(terms["commitment"], (vectors, codes), allow_unused=True)
        assert torch.allclose(gradients[0], 0.5 * vectors) and gradients[1] is None
        assert ("codebook" in terms) == (update == "loss") == method.encoder.codebook.weight.requires_grad
        if update == "loss":
            assert terms["codebook"].item() == pytest.approx(5.0)
            gradients = torch.autograd.grad(terms["codebook"], (vectors, codes), allow_unused=True)
            assert gradients[0] is None and torch.allclose(gradients[1], -vectors)


@pytest.mark.parametrize("update", ["mean", "loss"])
def test_the_codebook_moves_once_a_step_by_its_own_rule(update):
    method = vqvae(update=update, restart=0.0)
    outputs = method(method.views(open_data("demo:digits").rows.select(torch.arange(8)), Draw(0)))
    before = method.encoder.codebook.weight.detach().clone()
    sum(method.loss(outputs).values()).backward()
    used = torch.zeros(6).bool()
    used[outputs.chosen.unique()] = True
    if update == "loss":
        gradient = method.encoder.codebook.weight.grad
        assert torch.equal((gradient != 0).any(1), used)
    method.after_step(outputs, 0.0)
    assert torch.equal((method.encoder.codebook.weight != before).any(1), used if update == "mean" else torch.zeros(6).bool())
    assert torch.equal(method.encoder.codebook.usage > 1, outputs.chosen.flatten().bincount(minlength=6) > 1)


def test_features_of_vqvae_are_codes_from_which_the_sample_is_decoded():
    method = vqvae()
    x = open_data("demo:digits").rows["x"][torch.arange(5)]
    features = method.encoder(x)
    assert features.shape == (5, method.encoder.dim) and method.encoder.dim == 4 * 3
    rows = {tuple(code) for code in features.unflatten(1, (-1, 3)).flatten(0, 1).detach().float().tolist()}
    assert rows <= {tuple(code) for code in method.encoder.codebook.weight.detach().float().tolist()}
    views = {"target": x.unit().flatten(1).double(), "order": torch.zeros(5, 4)}
    expected = method.likelihood.mean(method(views).decoded)
    assert torch.allclose(method.decode(features).pixels.flatten(1), expected, atol=1e-6)


def test_plain_numbers_are_quantised_in_groups(tmp_path):
    run = leaven.pretrain(
        torch.randn(64, 5), method="vqvae", steps=3, batch=32, out=tmp_path, settings={"groups": 4, "size": 2, "codes": 8, "encoder.width": 16}
    )
    encoder = leaven.load(run)
    features = encoder(torch.randn(7, 5))
    assert features.shape == (7, 8)
    assert all(any(torch.equal(part, code) for code in encoder.codebook.weight) for part in features.view(-1, 2))


def test_a_codebook_of_which_little_is_used_is_told():
    method = vqvae(codes=100)
    outputs = method(method.views(open_data("demo:digits").rows.select(torch.arange(8)), Draw(0)))
    outputs["chosen"] = torch.zeros(8, 4, dtype=torch.int64)
    measures = method.measures(outputs)
    assert measures["perplexity"] == 1.0 and measures["unexplained"] > 0
    assert "about 1.0 of 100 codes are in use" in method.diagnose(measures)["codebook collapse"]
    outputs["chosen"] = torch.arange(32).view(8, 4)
    assert method.diagnose(method.measures(outputs)) == {}


# --- the encoders that they are built around ---


def test_a_dense_encoder_is_its_layers():
    encoder = build_encoder("dense", InputSpec("vector", (3,), (1.0,) * 3, (2.0,) * 3), {"widths": (4, 2), "activation": "tanh", "last": "sigmoid"})
    x = torch.randn(5, 3)
    (a, b), hidden = encoder.layers, (x - 1) / 2
    assert torch.allclose(encoder(x), (b(torch.tanh(a(hidden)))).sigmoid(), atol=1e-6)
    raw = build_encoder("dense", pictures_of(1, 2, 2), {"widths": (4,), "raw": True})
    pixels = torch.tensor([[[[0, 51], [102, 255]]]], dtype=torch.uint8)
    assert torch.allclose(raw.values(pixels), torch.tensor([[0.0, 0.2, 0.4, 1.0]]))
    assert torch.equal(raw(Pixels(pixels)), F.relu(raw.layers[0](raw.values(pixels))))


@pytest.mark.parametrize(("arguments", "told"), [({"widths": ()}, "encoder.widths"), ({"last": "swish"}, "no activation is named 'swish'")])
def test_a_dense_encoder_that_cannot_be_is_one_clear_line(arguments, told):
    with pytest.raises(leaven.UserError, match=told):
        build_encoder("dense", binary_numbers(3), arguments)


def test_a_code_after_an_encoder_is_a_linear_layer_that_shares_its_weights():
    from leaven.encoders import Projected

    inner = build_encoder("dense", binary_numbers(4), {"widths": (6,)})
    code = Projected.around(inner, 3)
    x = torch.rand(5, 4)
    assert torch.equal(code(x), code.code(inner(x))) and code.dim == 3
    again = build_encoder("projected", binary_numbers(4), code.arguments)
    again.load_state_dict(code.state_dict())
    assert torch.equal(again(x), code(x))
    names = [name for block in code.depths() for name in block]
    assert sorted(names) == sorted(name for name, _ in code.named_parameters())


@pytest.mark.parametrize(
    "encoder", [("masked_dense", {"widths": (5, 4)}), ("causal", {"width": 3}), ("quantized", {"options": {"width": 4, "features": 8}})]
)
def test_every_parameter_of_an_encoder_lies_in_one_block(encoder):
    built = build_encoder(encoder[0], pictures_of(1, 16, 16), encoder[1])
    names = [name for block in built.depths() for name in block]
    assert sorted(names) == sorted(name for name, _ in built.named_parameters())
