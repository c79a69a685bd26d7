"""Auto-encoders and Boltzmann machines: energies, gradients and partition functions against enumeration, noise, stages, unrolling."""

import itertools
import math

import pytest
import torch
from small import labeled, small
from torch import nn

import leaven
from leaven.data import Batch
from leaven.data.spec import DataSpec
from leaven.draw import Draw
from leaven.encoders import Projected, build_encoder
from leaven.methods.latent.denoising_autoencoder import corrupted
from leaven.methods.method import Outputs
from leaven.methods.registry import build_method, find_method
from leaven.modalities import InputSpec, Pixels, Vector
from leaven.modules.boltzmann import Boltzmann, Chains, Stack, diagnose
from leaven.modules.decoder import code_decoder
from leaven.modules.units import Binary, Gaussian
from leaven.training.trained import trained_method


def machine(below, above, *, spread=1.0, seed=0, **units):
    """A machine with random weights and biases, in float64."""
    torch.manual_seed(seed)
    made = Boltzmann(nn.Linear(below, above), **units).double()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=spread)
    return made.requires_grad_(False)


def states(units):
    """All states of so many binary units."""
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=units)), dtype=torch.float64)


def negative_energies(made, visible, hidden):
    """-E(v, h) of every pair, (visible states, hidden states)."""
    pairs = visible @ made.layer.weight.T @ hidden.T
    own = (made.visible.energy(visible)[:, None], made.hidden.energy(hidden)[None])
    return pairs + (visible @ made.visible_bias)[:, None] + (hidden @ made.layer.bias)[None] - own[0] - own[1]


def vectors(values, names):
    """A data set of plain numbers from 0 to 1."""
    return DataSpec(names, {"x": InputSpec("vector", (values,), (0.5,) * values, (0.5,) * values)})


def built(name, values=6, samples=100, **settings):
    torch.manual_seed(0)
    return build_method(find_method(name), vectors(values, samples), {}, settings)[0]


# --- machines ---


@pytest.mark.parametrize("visible", [Binary(), Gaussian()])
def test_the_free_energy_is_minus_the_log_of_the_sum_over_hidden_states(visible):
    made = machine(5, 4, visible=visible)
    x = torch.randn(7, 5, dtype=torch.float64) if isinstance(visible, Gaussian) else states(5)
    assert torch.allclose(made.free_energy(x), -negative_energies(made, x, states(4)).logsumexp(1), atol=1e-12)


def test_the_free_energy_over_gaussian_hidden_units_is_the_integral():
    made = machine(3, 1, hidden=Gaussian())
    grid = torch.linspace(-30, 30, 60_001, dtype=torch.float64)[:, None]
    integral = negative_energies(made, states(3), grid).logsumexp(1) + math.log(60 / 60_000)
    assert torch.allclose(made.free_energy(states(3)), -integral, atol=1e-9)


def test_both_layers_enumerated_give_the_same_partition_function():
    made = machine(7, 4)
    exact = negative_energies(made, states(7), states(4)).flatten().logsumexp(0).item()
    assert (-made.free_energy(states(7))).logsumexp(0).item() == pytest.approx(exact, abs=1e-10)
    assert (-made.hidden_free_energy(states(4))).logsumexp(0).item() == pytest.approx(exact, abs=1e-10)
    assert made.log_partition(Draw(0), 2, 2) == (pytest.approx(exact, abs=1e-10), 0.0, math.inf)


def test_a_gaussian_machine_enumerates_its_hidden_units():
    made = machine(1, 3, visible=Gaussian())
    grid = torch.linspace(-30, 30, 60_001, dtype=torch.float64)[:, None]
    integral = (-made.free_energy(grid)).logsumexp(0).item() + math.log(60 / 60_000)
    assert made.log_partition(Draw(0), 2, 2).value == pytest.approx(integral, abs=1e-9)


@pytest.mark.parametrize(("visible", "spread"), [(Binary(), 0.5), (Gaussian(), 0.3)])
def test_annealing_is_within_three_errors_of_brute_force(visible, spread):
    made = machine(20, 10, spread=spread, visible=visible)
    made.rest.copy_(0.5 * made.visible_bias)  # what annealing starts from need not be near
    exact = made.log_partition(Draw(0), 2, 2).value
    found = [made.anneal(Draw("ais", seed), 100, 1000) for seed in range(5)]
    assert all(abs(each.value - exact) < 3 * each.error and 0 < each.error < 0.2 for each in found)
    assert all(50 < each.effective <= 100 for each in found)


def test_annealing_from_a_machine_without_weights_is_exact():
    made = machine(30, 25)
    made.layer.weight.zero_()
    made.layer.bias.zero_()
    made.rest.copy_(made.visible_bias)
    exact = 25 * math.log(2) + nn.functional.softplus(made.visible_bias).sum().item()
    assert made.log_partition(Draw(0), 10, 50) == (pytest.approx(exact, abs=1e-9), pytest.approx(0, abs=1e-9), pytest.approx(10))


def exact_gradient(made, data):
    """Of the mean negative log-likelihood, by enumeration."""
    made.requires_grad_(True)
    loss = made.free_energy(data).mean() + (-made.free_energy(states(data.shape[1]))).logsumexp(0)
    return torch.autograd.grad(loss, list(made.parameters()))


@pytest.mark.parametrize("persistent", [False, True])
def test_contrastive_divergence_of_many_steps_is_the_gradient_of_the_likelihood(persistent):
    made = machine(4, 3, spread=0.7)
    data = states(4)[[3, 5, 5, 14]].repeat(10_000, 1)
    wanted = exact_gradient(made, data)

    def error(steps):
        noise = {name: each.double() for name, each in made.noise(Draw("gibbs"), len(data), steps).items()}
        found = made.contrast(data, noise, torch.zeros(len(data), 3, dtype=torch.float64) if persistent else None)
        gradient = torch.autograd.grad(found["data_energy"].mean() - found["model_energy"].mean(), list(made.parameters()))
        return max((a - b).abs().max().item() for a, b in zip(gradient, wanted, strict=True))

    assert error(20) < 0.012 < error(1)  # 0.012: four standard errors of a mean over 40,000 binary states


def test_chains_end_distributed_as_the_model():
    made = machine(3, 2)
    stack = Stack([made.layer]).double()
    stack.machines[0].visible_bias.data.copy_(made.visible_bias)
    drawn = stack.sample(20_000, Draw("samples"), 30)
    exact = (-made.free_energy(states(3))).softmax(0)
    counted = (drawn @ torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64)).long().bincount(minlength=8) / 20_000
    assert (counted - exact).abs().max() < 4 * (exact * (1 - exact) / 20_000).sqrt().max()


def test_units_at_rest_have_the_mean_of_the_data():
    total = torch.tensor([0.0, 30.0, 100.0])
    assert torch.allclose(Binary().mean(Binary().resting(total, 100)), torch.tensor([1 / 102, 31 / 102, 101 / 102]))
    assert torch.allclose(Gaussian().resting(total, 100), total / 100)


def test_chains_take_turns_and_each_part_gets_its_own():
    chains = Chains(5, 1)
    chains.states.copy_(torch.arange(5.0)[:, None])
    assert chains.rows(2, part=0)[:, 0].tolist() + chains.rows(2, part=1)[:, 0].tolist() == chains.rows(4)[:, 0].tolist() == [0, 1, 2, 3]
    chains.advance(torch.tensor([[10.0], [11], [12], [13]]))
    assert chains.rows(4)[:, 0].tolist() == [4, 10, 11, 12]
    chains.advance(torch.arange(20.0, 28)[:, None])  # more than there are
    assert chains.states[:, 0].tolist() == [21, 22, 23, 24, 20] and int(chains.turn) == 12


def test_verdicts_on_machines():
    fine = {"rebuilt": 0.03, "activation": 0.2, "idle_units": 0.1, "energy_gap": 0.01}
    assert diagnose(fine) == {}
    assert list(diagnose({**fine, "idle_units": 0.8})) == ["idle hidden units"]
    assert list(diagnose({**fine, "energy_gap": 1.0})) == ["diverging"]


def test_measures_of_a_machine():
    made = machine(2, 2, spread=0.0)
    made.layer.bias.copy_(torch.tensor([0.0, 20.0]))
    made.visible_bias.copy_(torch.tensor([0.0, -1.0]))
    found = made.measures(torch.tensor([[1.0, 0.0]], dtype=torch.float64), torch.tensor([[0.0, 1.0]], dtype=torch.float64))
    off = 1 / (1 + math.e)
    assert found == pytest.approx({"rebuilt": (0.25 + off**2) / 2, "activation": 0.75, "idle_units": 0.5, "energy_gap": -0.5}, abs=1e-6)


# --- rbm, gaussian_rbm, dbn ---


def bars(count):
    """Pictures of 3 x 3 with bars or stripes: 14 different ones."""
    each = states(3)
    kinds = torch.cat([each[:, None].expand(-1, 3, -1), each[1:-1, :, None].expand(-1, -1, 3)]).flatten(1)
    return kinds[torch.arange(count) % len(kinds)].float()


@pytest.mark.parametrize("settings", [{}, {"persistent": False, "gibbs_steps": 5}])
def test_an_rbm_learns_bars_and_stripes_and_its_probabilities_sum_to_one(settings, tmp_path):
    settings = {"hidden": 16, "recipe.lr": 0.5, "recipe.momentum": 0.8, **settings}
    run = leaven.pretrain(bars(140), method="rbm", steps=800, batch=70, out=tmp_path / "run", precision="fp32", settings=settings)
    rbm = trained_method(run).double()
    assert rbm.log_partition.error == 0
    assert rbm.log_prob(Vector(states(9)), Draw(0)).exp().sum().item() == pytest.approx(1, abs=1e-4)
    nats = rbm.log_prob(Vector(bars(14).double()), Draw(0)).mean().item()
    assert -9 * math.log(2) + 2 < nats < -math.log(14)  # of independent values; the most there can be
    drawn = rbm.sample(200, Draw(1)).numbers
    assert (drawn[:, None] == bars(14)).all(2).any(1).double().mean() > 0.3  # 14 of 512 by chance


ONE_TOO_LARGE = torch.where((torch.arange(20_000)[:, None] == 12_345) & (torch.arange(4) == 1), 1.5, 0.5)
BINARY = {"rbm": {}, "dbn": {}, **{name: {"likelihood": "bernoulli"} for name in ("vae", "made", "autoencoder", "deep_autoencoder")}}


@pytest.mark.parametrize("bad", [ONE_TOO_LARGE, torch.where(torch.arange(4) == 2, torch.nan, torch.rand(64, 4))], ids=["one too large", "nan"])
@pytest.mark.parametrize("method", BINARY)
def test_values_that_are_no_probabilities_are_refused_before_anything_is_written(method, bad, tmp_path):
    with pytest.raises(leaven.UserError, match=r"from 0 to 1, and these reach from 0.5 to 1.5|not finite") as caught:
        leaven.pretrain(bad, method=method, steps=2, out=tmp_path / "run", settings=BINARY[method])
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_grey_values_are_drawn_anew_and_have_the_right_mean():
    rbm, grey = built("rbm", hidden=3), torch.tensor([[0.0, 0.1, 0.5, 0.9, 1.0, 1.0]])
    batch = Batch.of(x=Vector(grey.expand(4000, -1)))
    first, second = (rbm.views(batch, Draw(0, "views", step))["data"] for step in (0, 1))
    assert not torch.equal(first, second) and set(first.unique().tolist()) == {0.0, 1.0}
    assert torch.allclose(first.mean(0), grey[0], atol=0.03)


def test_the_loss_of_an_rbm_is_the_difference_of_the_free_energies():
    rbm = built("rbm", hidden=3, sparsity=0.1, sparsity_weight=2.0)
    hidden = torch.tensor([[0.2, 0.4, 0.0], [0.0, 0.0, 0.4]])
    terms = rbm.loss(Outputs(data_energy=torch.tensor([1.0, 2.0]), model_energy=torch.tensor([3.0, 5.0]), hidden=hidden))
    assert terms["free_energy"].item() == -2.5
    assert terms["sparsity"].item() == pytest.approx(2 * (0.0 + 0.01 + 0.01), abs=1e-6)


def test_a_sparsity_target_is_approached(tmp_path):
    activation = {}
    for target in (None, 0.05):
        settings = {"hidden": 16, "sparsity": target, "sparsity_weight": 20.0}
        run = leaven.pretrain(bars(140), method="rbm", steps=200, batch=70, out=tmp_path / str(target), precision="fp32", settings=settings)
        activation[target] = run.metrics[-1]["activation"]
    assert abs(activation[0.05] - 0.05) < 0.1 < abs(activation[None] - 0.05)


def test_visible_biases_start_at_the_mean_of_the_data_and_chains_near_it():
    rbm, data = built("rbm", values=2, samples=998, hidden=3, chains=2000), torch.tensor([0.2, 0.7])
    rbm.begin(lambda function: function(Batch.of(x=Vector(data.expand(998, -1)))))
    assert torch.allclose(rbm.stack.machines[0].visible_bias.sigmoid(), (998 * data + 1) / 1000)
    assert rbm.stack.chains[0].states.mean().item() == pytest.approx(0.5, abs=0.05)  # hidden units with hardly any weights


def test_a_gaussian_rbm_without_weights_is_a_normal_density_of_pixels():
    rbm, _ = small("gaussian_rbm", hidden=4)
    parameters = dict(rbm.double().named_parameters())
    for parameter in parameters.values():
        nn.init.zeros_(parameter)
    pixels = torch.rand(5, 3, 16, 16, dtype=torch.float64)
    mean, std = (torch.tensor(each, dtype=torch.float64).view(3, 1, 1) for each in (rbm.encoder.input.mean, rbm.encoder.input.std))
    exact = torch.distributions.Normal(mean, std).log_prob(pixels).sum((1, 2, 3))
    assert torch.allclose(rbm.log_prob(Pixels(pixels), Draw(0)), exact, atol=1e-2)  # log Z is kept in float32
    assert torch.allclose(rbm.decode(torch.rand(1, 4, dtype=torch.float64)).pixels, mean.expand(1, 3, 16, 16), atol=1e-6)


def two_machines():
    dbn = built("dbn", values=4, widths=(3, 2), sample_steps=30).double()
    for parameter in dbn.parameters():
        nn.init.normal_(parameter, std=0.8)
    return dbn.requires_grad_(False), *dbn.stack.machines


def test_a_belief_nets_bound_is_that_of_its_posterior_and_below_the_likelihood():
    dbn, lower, upper = two_machines()
    below, above = states(4), states(3)
    prior = -upper.free_energy(above) - upper.log_partition(Draw(0), 2, 2).value
    generate = torch.stack([lower.visible.log_prob(below, lower.visible_field(h).expand(16, -1)) for h in above], 1)
    posterior = torch.stack([lower.hidden.log_prob(above, lower.hidden_field(v).expand(8, -1)) for v in below])
    exact = (prior + generate).logsumexp(1)
    bound = (posterior.exp() * (prior + generate - posterior)).sum(1)
    drawn = torch.stack([dbn.log_prob(Vector(below.repeat(500, 1)), Draw("bound", part)).view(500, 16) for part in range(4)]).flatten(0, 1)
    assert exact.exp().sum().item() == pytest.approx(1, abs=1e-9)
    assert (bound <= exact + 1e-12).all() and (bound < exact - 1e-3).any()
    assert ((drawn.mean(0) - bound).abs() < 4.5 * drawn.std(0) / 2000**0.5 + 1e-4).all()


def test_samples_of_a_belief_net_are_drawn_from_the_upper_machine_down():
    dbn, lower, upper = two_machines()
    above = states(3)
    prior = (-upper.free_energy(above)).softmax(0)
    exact = (prior[:, None] * lower.visible.mean(lower.visible_field(above))).sum(0)
    assert torch.allclose(dbn.sample(20_000, Draw(0)).numbers.mean(0), exact, atol=0.02)


def test_each_machine_of_a_belief_net_learns_alone_from_draws_of_the_one_below(tmp_path):
    settings = {"widths": (6, 4), "recipe.schedule": "constant"}
    half, whole = (
        trained_method(leaven.pretrain(bars(56), method="dbn", steps=steps, batch=28, out=tmp_path / str(steps), precision="fp32", settings=settings))
        for steps in (10, 20)
    )
    first, second = whole.stack.machines
    assert not torch.equal(half.stack.machines[0].layer.weight, first.layer.weight)  # 5 steps and 10
    whole.stage = 1
    data = whole.views(Batch.of(x=Vector(bars(5600))), Draw(0))["data"]
    assert data.shape == (5600, 6) and set(data.unique().tolist()) <= {0.0, 1.0}
    assert torch.allclose(data.mean(0), first.hidden_field(bars(5600)).sigmoid().mean(0), atol=0.03)
    outputs = whole(whole.views(Batch.of(x=Vector(bars(28))), Draw(0)))
    assert torch.autograd.grad(whole.loss(outputs)["free_energy"], [first.layer.weight], allow_unused=True) == (None,)
    assert outputs.model.shape == (28, 6) and second.layer.in_features == 6


# --- decoders and auto-encoders ---


def test_a_decoder_of_pictures_gives_each_value_its_outputs_in_order():
    decoder = code_decoder(build_encoder("convnet", InputSpec("pixels", (3, 12, 10)), {"width": 8}), 5, per_value=2).eval()
    codes = torch.randn(2, 5)
    maps, outputs = decoder.grow(decoder.spread(codes)), decoder(codes)
    assert maps.shape == (2, 6, 12, 10) and outputs.shape == (2, 360, 2)
    assert outputs[1, 2 * 120 + 7 * 10 + 4, 1] == maps[1, 2 * 2 + 1, 7, 4]  # channel 2, row 7, column 4, second output


@pytest.mark.parametrize(
    ("kind", "around", "widths"), [("dense", False, [20, 40, 12]), ("dense", True, [5, 20, 40, 12]), ("mlp", True, [5, 256, 256, 12])]
)
def test_a_decoder_of_plain_numbers_mirrors_the_encoder(kind, around, widths):
    encoder = build_encoder(kind, InputSpec("vector", (6,)), {"widths": (40, 20)} if kind == "dense" else {})
    encoder = Projected.around(encoder, 5) if around else encoder
    decoder = code_decoder(encoder, encoder.dim, per_value=2)
    layers = [layer for layer in decoder.modules() if isinstance(layer, nn.Linear)]
    assert [layers[0].in_features, *(layer.out_features for layer in layers)] == widths
    assert decoder(torch.randn(3, widths[0])).shape == (3, 6, 2)


def test_a_linear_autoencoder_finds_the_principal_components(tmp_path):
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(256, 5, generator=generator) * torch.tensor([1.0, 0.9, 0.8, 0.2, 0.1]) @ torch.randn(5, 5, generator=generator)
    points = points - points.mean(0)
    settings = {"encoder.widths": 5, "encoder.last": "linear", "code": 3, "likelihood": "gaussian", "recipe.lr": 2e-2}
    run = leaven.pretrain(
        points, method="autoencoder", encoder="dense", steps=400, batch=256, out=tmp_path / "run", precision="fp32", settings=settings
    )
    autoencoder = trained_method(run)
    scaled = points / points.std(0, correction=0)
    values = torch.linalg.svdvals(scaled).square()
    rebuilt = autoencoder.decode(autoencoder.encoder(points)).numbers / points.std(0, correction=0)
    assert (scaled - rebuilt).square().sum().item() == pytest.approx(values[3:].sum().item(), rel=0.05)
    assert run.metrics[-1]["unexplained"] == pytest.approx((values[3:].sum() / values.sum()).item(), rel=0.1)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "categorical"])
def test_the_loss_of_an_autoencoder_is_the_nats_of_a_sample(likelihood):
    autoencoder, _ = small("autoencoder", likelihood=likelihood)
    views = autoencoder.views(labeled().rows, Draw(0))
    outputs = autoencoder(views)
    assert outputs.rebuilt.shape == (32, 768, autoencoder.likelihood.per_value)
    assert torch.equal(views["target"], autoencoder.likelihood.expected(views["x"]))  # pictures themselves, not draws of them
    each = autoencoder.likelihood.log_prob(outputs.rebuilt, views["target"])
    assert autoencoder.loss(outputs)["reconstruction"].item() == pytest.approx(-each.mean().item())
    assert autoencoder.decode(outputs.codes).pixels.shape == (32, 3, 16, 16)


def test_noise_hides_sets_or_adds():
    x = torch.full((200, 50), 0.3)
    hidden = corrupted(x, "mask", 0.4, Draw(0))
    assert (hidden == 0).float().mean().item() == pytest.approx(0.4, abs=0.02) and set(hidden.unique().tolist()) == {0.0, x[0, 0].item()}
    peppered = corrupted(x, "salt_and_pepper", 0.4, Draw(0))
    assert [(peppered == value).float().mean().item() for value in (0.0, 1.0)] == pytest.approx([0.2, 0.2], abs=0.02)
    noisy = corrupted(x, "gaussian", 0.5, Draw(0))
    assert (noisy - x).std().item() == pytest.approx(0.5, abs=0.02) and (noisy - x).mean().abs() < 0.02


def test_what_is_denoised_is_clean_and_hidden_plain_numbers_are_their_mean():
    denoising, _ = small("denoising_autoencoder", noise="gaussian", amount=0.5)
    views = denoising.views(labeled().rows, Draw(0))
    assert torch.equal(views["target"], labeled().rows["x"].unit().flatten(1))
    assert views["x"].pixels.min() == 0 and views["x"].pixels.max() == 1 and not torch.equal(views["x"].pixels.flatten(1), views["target"])
    data = vectors(6, 100)
    encoder = build_encoder("mlp", data.roles["x"], {"width": 8})
    denoising, _ = build_method(find_method("denoising_autoencoder"), data, {"x": encoder}, {"amount": 1.0})
    assert torch.equal(denoising.views(Batch.of(x=Vector(torch.rand(4, 6))), Draw(0))["x"].numbers, torch.full((4, 6), 0.5))


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("denoising_autoencoder", {"noise": "snow"}, "noise cannot be 'snow'"),
        ("denoising_autoencoder", {"amount": 1.5}, "amount must be from 0 to 1"),
        ("denoising_autoencoder", {"noise": "gaussian", "amount": -1}, "amount must be 0 or more"),
        ("autoencoder", {"code": 0}, "a code has 1 number or more"),
        ("autoencoder", {"likelihood": "poisson"}, "no likelihood is named"),
        ("sparse_autoencoder", {"weight": -1}, "weight must be 0 or more"),
        ("stacked_autoencoder", {"widths": (4,)}, "two layers or more"),
        ("stacked_autoencoder", {"pretraining": 1}, "below 1"),
        ("deep_autoencoder", {"likelihood": "categorical"}, "choose bernoulli or gaussian"),
        ("deep_autoencoder", {"pretraining": -0.1}, "below 1"),
        ("rbm", {"hidden": 0}, "hidden must be 1 or more"),
        ("rbm", {"gibbs_steps": 0}, "1 or more"),
        ("rbm", {"ais_runs": 1}, "2 or more"),
        ("rbm", {"sparsity": 1.0}, "above 0 and below 1"),
        ("dbn", {"chains": 0}, "1 or more"),
        ("dbn", {"widths": ()}, "one machine or more"),
    ],
)
def test_settings_out_of_range_are_one_clear_line(name, settings, told):
    with pytest.raises(leaven.UserError, match=told) as caught:
        small(name, **settings)
    assert "\n" not in str(caught.value)


def test_the_sparsity_penalty_counts_numbers_and_not_their_size():
    sparse, _ = small("sparse_autoencoder", weight=2.0)
    rest = {"rebuilt": torch.zeros(1, 768, 1), "target": torch.zeros(1, 768)}
    for codes, expected in (([[3.0, 0, 0, 0]], 1), ([[1.0, 1, 1, 1]], 2), ([[5.0, 5, 5, 5]], 2)):
        assert sparse.loss(Outputs(codes=torch.tensor(codes), **rest))["sparsity"].item() == pytest.approx(2 * expected, abs=1e-6)
    codes = sparse.encoder(labeled().rows["x"])
    assert (codes >= 0).all() and (codes == 0).any() and (codes > 0).any()


def test_a_greater_weight_leaves_fewer_numbers_of_the_code_active(tmp_path):
    points = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    active = []
    for weight in (0.0, 10.0):
        run = leaven.pretrain(
            points, method="sparse_autoencoder", steps=150, out=tmp_path / str(weight), precision="fp32", settings={"weight": weight, "code": 32}
        )
        active.append(run.metrics[-1]["active_share"])
    assert active[1] < 0.6 * active[0]
    assert small("sparse_autoencoder")[0].diagnose({"dead_units": 0.9}).keys() == {"dead code"}


# --- stacks of layers ---


def test_stacked_layers_learn_in_pairs_and_then_together():
    stacked, _ = small("stacked_autoencoder", widths=(24, 12, 4), amount=0.5)
    stages = list(stacked.stages())
    assert [stage.name for stage in stages] == ["layer1", "layer2", "layer3", "together"]
    assert sum(stage.share for stage in stages) == pytest.approx(1) and stages[-1].trains is None
    for number, stage in enumerate(stages[:3]):
        stacked.stage = number
        with torch.no_grad():
            views = stacked.views(labeled().rows, Draw(0))
        sum(stacked.loss(stacked(views)).values()).backward()
        moved = {id(parameter) for parameter in stacked.parameters() if parameter.grad is not None}
        assert moved == {id(parameter) for module in stage.trains for parameter in module.parameters()}
        up, down = stage.trains[:2]
        assert (up.in_features, up.out_features) == (down.out_features, down.in_features) == [(768, 24), (24, 12), (12, 4)][number]
        stacked.zero_grad(set_to_none=True)
    pixels = Pixels(labeled().rows["x"].unit())
    hidden = stacked.encoder.inner(pixels)
    assert torch.allclose(views["target"], hidden, atol=1e-5)  # the last layer rebuilds what the two below give, without noise
    assert ((views["x"] == 0) & (hidden != 0)).any()
    stacked.stage = 3
    outputs = stacked(stacked.views(labeled().rows, Draw(0)))
    assert torch.equal(outputs.codes, stacked.encoder(pixels))


@pytest.mark.parametrize(
    ("likelihood", "modality"), [("bernoulli", "pixels"), ("gaussian", "pixels"), ("gaussian", "vector"), ("bernoulli", "vector")]
)
def test_unrolled_machines_rebuild_as_a_pass_up_and_down_does(likelihood, modality):
    shape = {"pixels": (2, 3, 3), "vector": (18,)}[modality]
    spec = InputSpec(modality, shape, (0.4,) * shape[0], (0.3,) * shape[0])
    torch.manual_seed(0)
    settings = {"widths": (7, 5, 2), "likelihood": likelihood}
    deep, _ = build_method(find_method("deep_autoencoder"), DataSpec(100, {"x": spec}), {}, settings)
    for parameter in deep.stack.parameters():
        nn.init.normal_(parameter, std=0.5)
    stages = list(deep.stages())
    assert [stage.name for stage in stages] == ["machine1", "machine2", "machine3", "unrolled"]
    stages[-1].prepare(None)
    x = Pixels(torch.rand(4, *shape)) if modality == "pixels" else Vector(torch.rand(4, *shape))
    codes = deep.encoder(x)
    assert torch.allclose(codes, deep.stack.up(deep.encoder.values(x), 3), atol=1e-6) and codes.shape == (4, 2)
    expected, found = deep.encoder.from_values(deep.stack.down(codes, 3)), deep.decode(codes)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(expected.tensors().values(), found.tensors().values(), strict=True))


def test_the_code_of_a_deep_autoencoder_is_of_gaussian_units_and_no_machine_is_needed():
    deep, _ = small("deep_autoencoder", widths=(24, 4))
    assert [type(machine.hidden) for machine in deep.machines] == [Binary, Gaussian]
    deep, _ = small("deep_autoencoder", widths=(24, 4), pretraining=0)
    assert [stage.name for stage in deep.stages()] == ["unrolled"] and deep.unrolled
    assert deep.encoder.layers[0].weight.std() > 0.015  # as layers usually start, not as machines do
