"""Every method keeps the contract, and each one's mathematics is exact."""

import json
import math
import os
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch
from small import BEGINNING, ENCODERS, SPEC, STEPPING, kind_of, learnable_samples, pictures, samples_for, small, small_settings, step_views
from torch import nn
from torch.nn import functional as F

import leaven
from leaven.data import Batch, open_data
from leaven.encoders import build_encoder
from leaven.encoders.convnet import SideBySideConv2d
from leaven.hyperparameters import explained, hyperparameters
from leaven.losses import nt_xent
from leaven.methods.distillation.byol import distance
from leaven.methods.method import Method, Outputs
from leaven.methods.registry import find_method, registry
from leaven.modalities import InputSpec, Pixels, Vector
from leaven.modules import Teacher, mlp
from leaven.modules.patches import patchify, sincos_positions
from leaven.run import named, when
from leaven.training.devices import ASK_DRIVER, seed_device
from leaven.training.health import Monitor, choices_used, feature_std, information, rankme, uniformity
from leaven.training.optimizers import LARS, build_optimizer, parameter_groups, restore
from leaven.training.plan import rate_factor, scaled_rate
from leaven.training.trained import trained_method

# --- over the registry ---


@pytest.mark.parametrize("name", registry())
def test_a_configuration_builds_the_same_method_again(name):
    method, _ = small(name)
    stored = json.loads(json.dumps(method.config))
    again, _ = small(name, **stored)
    assert json.loads(json.dumps(again.config)) == stored
    assert {key: value.shape for key, value in again.state_dict().items()} == {key: value.shape for key, value in method.state_dict().items()}
    assert set(stored) - {"views"} == set(hyperparameters(type(method)))


@pytest.mark.parametrize("name", registry())
def test_every_method_says_what_it_is(name):
    listed = {method["name"]: method for method in leaven.list_methods()}[name]
    assert listed["paper"] and listed["year"] > 1900 and listed["summary"].endswith((".", ")"))
    assert listed["family"] in {
        "audio",
        "clustering",
        "contrastive",
        "distillation",
        "dual",
        "generative",
        "latent",
        "masked",
        "multimodal",
        "pretext",
        "semi_supervised",
        "supervised",
        "text",
    }


@pytest.mark.parametrize("name", registry())
def test_the_documented_parameters_are_exactly_those_that_exist(name):
    prose, meanings = explained(registry()[name])
    assert set(meanings) == set(hyperparameters(registry()[name]))
    assert prose and all(len(meaning) > 5 for meaning in meanings.values())


@pytest.mark.parametrize("name", [name for name in BEGINNING if name in STEPPING])
def test_every_method_stays_finite_in_bf16_and_overfits_a_few_pictures(name, tmp_path):
    run = leaven.pretrain(
        learnable_samples(name),
        method=name,
        steps=60,
        batch=32,
        out=tmp_path / "run",
        precision="bf16",
        settings=small_settings(name),
        keep_going=True,
    )
    assert all(math.isfinite(row["loss"]) for row in run.metrics)
    rows = [(row["stage"], row[find_method(name).judged_by]) for row in run.metrics if find_method(name).judged_by in row]
    whole = [number for _, number in rows]
    stages = [[number for stage, number in rows if stage == each] for each in dict.fromkeys(stage for stage, _ in rows)]
    assert falls([whole]) or falls(stages), "neither over the training nor within its stages, which DeepCluster begins with new labels"


def falls(parts):
    """Whether numbers are lower at the end than at the beginning of the parts, all together."""
    ends = [(part[:some], part[-some:]) for part in parts if (some := min(10, len(part) // 2))]
    return sum(sum(last) for _, last in ends) < sum(sum(first) for first, _ in ends)


@pytest.mark.parametrize("name", BEGINNING)
def test_the_kept_encoder_gives_the_features_of_the_trained_method(name, tmp_path):
    run = leaven.pretrain(samples_for(name), method=name, steps=2, batch=32, out=tmp_path / "run", precision="fp32", settings=small_settings(name))
    method = trained_method(run, name)
    if kind_of(name) == "pairs" or len(method.encoders()) > 1:
        sides, encoders = open_data(samples_for(name), unpaired=method.reads_unpaired).rows, method.encoders()
        for role, encoder in encoders.items():
            assert torch.equal(leaven.load(run, role if len(encoders) > 1 else None)(sides[role]), encoder(sides[role]))
        return
    kept = leaven.load(run)
    if kind_of(name) != "pixels":
        (_, value), *_ = open_data(samples_for(name)).rows.roles.items()
        assert torch.equal(kept(value), method.encoder(value))
        return
    assert torch.equal(kept(pictures()), method.encoder(pictures()))
    assert torch.allclose(kept(pictures().float() / 255), method.encoder(pictures()), atol=1e-5)


@pytest.mark.parametrize("name", STEPPING)
def test_the_loss_of_an_untrained_method_is_near_its_chance_level(name):
    method, _ = small(name)
    turn = method.players[:1]
    outputs = method(step_views(method), *turn)
    loss, chance = sum(method.loss(outputs, *turn).values()).item(), method.chance(outputs)
    assert chance is None or 0.6 * chance < loss < 1.6 * chance


def test_a_method_in_a_file_of_its_own_is_found_and_trained(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from leaven.methods.contrastive.simclr import SimCLR\n\n\nclass Mine(SimCLR):\n    '''Mine.'''\n\n"
        "    def __init__(self, encoder, *, temperature: float = 0.5):\n"
        "        super().__init__(encoder, temperature=temperature)\n"
    )
    run = leaven.pretrain("demo:digits", method=f"{tmp_path}/mine.py:Mine", steps=2, out=tmp_path / "run", settings={"encoder.width": 8})
    assert run.config["asked"]["method"]["hyperparameters"]["temperature"] == 0.5
    assert leaven.load(run)(torch.zeros(1, 1, 16, 16)).shape == (1, 512)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"temprature": 1}, "has no setting 'temprature'"),
        ({"temperature": "hot"}, "temperature takes a number, not 'hot'"),
        ({"views.crop_minimum": 1}, "views has no 'crop_minimum'"),
        ({"views.crop_min": 2}, "crop_min"),
        ({"recipe.optimizer": "adamz"}, "recipe.optimizer cannot be 'adamz': choose adamw"),
        ({"recipe.schedule": "cosin"}, "recipe.schedule cannot be 'cosin'"),
        ({"recipe.lr_rule": "cubic"}, "recipe.lr_rule cannot be 'cubic'"),
        ({"recipe.lr": -1}, "recipe.lr must be 0 or more, not -1"),
        ({"recipe.lr": "nan"}, "recipe.lr must be 0 or more, not nan"),
        ({"recipe.warmup": 1}, "recipe.warmup must be from 0 to below 1"),
        ({"recipe.clip": 0}, "recipe.clip must be above 0"),
        ({"encoder.widht": 1}, "has no argument 'widht'"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(settings, told, tmp_path):
    with pytest.raises(leaven.UserError, match=told) as caught:
        leaven.pretrain("demo:digits", steps=1, out=tmp_path / "run", settings=settings)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("name", "told"), [("simcrl", "did you mean simclr"), ("nothing-like-it", "leaven methods")])
def test_an_unknown_method_is_answered_with_what_there_is(name, told):
    with pytest.raises(leaven.UserError, match=told):
        find_method(name)


# --- NT-Xent and SimCLR ---


def test_nt_xent_of_two_samples_by_hand():
    a, b, t = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.6, 0.8]]), 0.5
    s = {("a0", "b0"): 1.0, ("a0", "a1"): 0.0, ("a0", "b1"): 0.6, ("a1", "b1"): 0.8, ("a1", "b0"): 0.0, ("b0", "b1"): 0.6}
    similar = lambda i, j: s.get((i, j), s.get((j, i)))  # noqa: E731
    names, partner = ["a0", "a1", "b0", "b1"], {"a0": "b0", "b0": "a0", "a1": "b1", "b1": "a1"}
    each = [-similar(i, partner[i]) / t + math.log(sum(math.exp(similar(i, k) / t) for k in names if k != i)) for i in names]
    assert nt_xent(a, b, t).item() == pytest.approx(sum(each) / 4, abs=1e-6)


@pytest.mark.parametrize("batch", [2, 5, 64])
def test_nt_xent_of_identical_embeddings_is_the_log_of_all_others(batch):
    same = torch.ones(batch, 8)
    assert nt_xent(same, same, 0.1).item() == pytest.approx(math.log(2 * batch - 1), abs=1e-5)


def test_nt_xent_refuses_a_batch_of_one():
    with pytest.raises(ValueError, match="no negatives"):
        nt_xent(torch.ones(1, 4), torch.ones(1, 4), 0.1)


def test_nt_xent_has_no_gradient_for_length_and_is_finite_at_zero():
    a, b = torch.randn(6, 4, requires_grad=True), torch.randn(6, 4)
    nt_xent(a, b, 0.2).backward()
    assert (a.grad * a).sum(1).abs().max() < 1e-6
    assert nt_xent(torch.zeros(3, 4), torch.zeros(3, 4), 0.2).isfinite()


# --- BYOL ---


def test_byol_is_the_symmetric_sum_of_two_minus_two_cosines():
    outputs = Outputs(
        predictions=[torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 2.0]])], targets=[torch.tensor([[0.0, 5.0]]), torch.tensor([[1.0, 1.0]])]
    )
    expected = (2 - 2 * math.cos(math.pi / 4)) + (2 - 2 * 1.0)
    assert small("byol")[0].loss(outputs)["prediction"].item() == pytest.approx(expected, abs=1e-6)
    assert distance(torch.tensor([[1.0, 0.0]]), torch.tensor([[-2.0, 0.0]])).item() == pytest.approx(4.0)


def test_byol_teacher_gets_no_gradient_and_the_predictor_does():
    method, _ = small("byol")
    sum(method.loss(method(step_views(method))).values()).backward()
    assert all(parameter.grad is None for parameter in method.teacher.parameters())
    assert all(parameter.grad is not None for parameter in method.predictor.parameters())


def test_byol_views_are_asymmetric():
    method, _ = small("byol")
    solarize = method.augment.solarize
    assert solarize[0] == 0.0 and solarize[1] > 0


def test_a_teacher_starts_as_a_copy_moves_by_its_momentum_and_copies_buffers():
    student = mlp(4, 8, 8)
    teacher = Teacher(student, momentum=0.9, rising=False)
    before = [parameter.clone() for parameter in teacher.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, student.parameters(), strict=True))
    student(torch.randn(16, 4))
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    teacher.update(0.0)
    for old, new in zip(before, teacher.parameters(), strict=True):
        assert torch.allclose(new, old + 0.1, atol=1e-6)
    assert [int(buffer) for name, buffer in teacher.named_buffers() if "tracked" in name] == [1]
    assert all(torch.equal(a, b) for a, b in zip(teacher.buffers(), student.buffers(), strict=True))


def test_teacher_momentum_rises_along_a_cosine_to_one():
    teacher = Teacher(nn.Linear(1, 1), momentum=0.99)
    assert teacher.momentum_at(0) == pytest.approx(0.99) and teacher.momentum_at(1) == 1.0
    assert teacher.momentum_at(0.5) == pytest.approx(0.995)


def test_the_teacher_moves_once_a_step_whatever_the_micro_batches(tmp_path):
    counts = []
    for accumulate in (1, 4):
        run = leaven.pretrain(
            "demo:digits", method="byol", steps=3, batch=64, accumulate=accumulate, out=tmp_path / str(accumulate), settings={"encoder.width": 8}
        )
        counts.append(
            sum(
                int(value)
                for key, value in trained_method(run).state_dict().items()
                if key.startswith("encoder") and key.endswith("stem_norm.num_batches_tracked")
            )
        )
    assert counts == [3, 12]


# --- MAE ---


def test_mae_hides_exactly_the_asked_share_and_every_sample_differently():
    method, _ = small("mae", mask_ratio=0.75)
    order = step_views(method)["order"]
    assert method.patches == 64 and method.visible == 16
    assert (order.sort(1).values == torch.arange(64)).all()
    assert len({tuple(row.tolist()) for row in order[:, :16].sort(1).values}) > 30


def test_mae_loss_is_on_hidden_patches_only_with_normalised_targets():
    method, _ = small("mae")
    views = step_views(method)
    outputs = method(views)
    target = patchify(views["sample"].unit(), method.encoder.patch)
    target = (target - target.mean(2, keepdim=True)) / (target.var(2, keepdim=True) + 1e-6).sqrt()
    hidden = views["order"][:, 16:]
    expected = torch.stack([target[sample][hidden[sample]] for sample in range(32)])
    assert torch.allclose(outputs.target, expected, atol=1e-5)
    assert method.loss(outputs)["reconstruction"].item() == pytest.approx((outputs.prediction - expected).square().mean().item(), rel=1e-5)


def test_mae_encoder_never_sees_hidden_patches():
    method, _ = small("mae")
    views = step_views(method)
    picture = views["sample"].pixels.clone()
    first = method.eval()(views).prediction
    rows = patchify(torch.arange(256.0).view(1, 1, 16, 16).expand(32, 1, 16, 16), 2)  # which pixel each value of a patch is
    for sample in range(32):
        for patch in views["order"][sample, 16:].tolist():
            places = rows[sample, patch].long()
            picture[sample].view(3, -1)[:, places] = 0.77
    second = method({"sample": Pixels(picture), "order": views["order"]}).prediction
    assert torch.allclose(first, second, atol=1e-6)


def test_mae_positions_are_fixed_and_the_mask_token_is_not_decayed():
    method, recipe = small("mae")
    names = dict(method.named_parameters())
    assert not any("positions" in name for name in names)
    groups = parameter_groups(method, recipe)
    plain = {id(parameter) for group in groups if group["weight_decay"] == 0 for parameter in group["params"]}
    assert id(method.mask_token) in plain
    assert torch.allclose(sincos_positions(4, 4, 16)[0], torch.tensor([0.0] * 4 + [1.0] * 4 + [0.0] * 4 + [1.0] * 4))


def test_patchify_keeps_each_patch_together():
    picture = torch.arange(16.0).view(1, 1, 4, 4)
    assert patchify(picture, 2)[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


# --- rotation ---


def test_rotation_labels_undo_to_the_original():
    method, _ = small("rotation", **{"views.crop_min": 1, "views.flip": 0})
    views = step_views(method)
    original = pictures().float() / 255
    for turns, view in enumerate(views):
        assert torch.allclose(torch.rot90(view.pixels, -turns, (2, 3)), original, atol=1e-6) or torch.allclose(
            torch.rot90(view.pixels, turns, (2, 3)), original, atol=1e-6
        )
    assert not torch.allclose(views[1].pixels, views[3].pixels)


@pytest.mark.parametrize("angles", [(0, 180), (0, 90, 180, 270)])
def test_rotation_asks_among_the_given_angles(angles):
    method, _ = small("rotation", angles=angles)
    outputs = method(step_views(method))
    assert len(outputs.logits) == len(angles)
    perfect = Outputs(logits=[F.one_hot(torch.full((32,), turn), len(angles)) * 100.0 for turn in range(len(angles))])
    assert method.loss(perfect)["rotation"].item() == pytest.approx(0.0, abs=1e-6)
    assert method.chance(outputs) == math.log(len(angles))


def test_rotation_refuses_angles_that_are_not_quarter_turns():
    with pytest.raises(leaven.UserError, match="multiples of 90"):
        small("rotation", angles=(0, 45))


# --- optimisers and schedules ---


@pytest.mark.parametrize("name", registry())
def test_weight_decay_spares_biases_norms_and_tokens(name):
    method, recipe = small(name)
    decayed = {id(parameter) for group in parameter_groups(method, recipe) if group["weight_decay"] > 0 for parameter in group["params"]}
    for parameter_name, parameter in method.named_parameters():
        if parameter.ndim <= 1 or "token" in parameter_name:
            assert id(parameter) not in decayed, parameter_name
    trainable = [parameter for parameter in method.parameters() if parameter.requires_grad]
    assert sum(len(group["params"]) for group in parameter_groups(method, recipe)) == len(trainable)


def test_lars_adapts_matrices_and_not_norms_even_without_weight_decay():
    matrix, bias = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    optimizer = LARS([{"params": [matrix], "weight_decay": 0.0}, {"params": [bias], "adapt": False}], lr=1.0, momentum=0.0, trust=0.1)
    matrix.grad, bias.grad = torch.full((2, 2), 4.0), torch.full((2,), 0.25)
    optimizer.step()
    assert torch.allclose(matrix, torch.full((2, 2), 1 - 0.1 * (2 / 8) * 4.0))
    assert torch.allclose(bias, torch.full((2,), 0.75))


def test_muon_leaves_embeddings_to_adamw():
    method, recipe = small("masked_lm", **{"recipe.optimizer": "muon"})
    optimizer = build_optimizer(recipe, parameter_groups(method, recipe), 0.1)
    orthogonalised = {id(parameter) for group in optimizer.param_groups if not group["use_fallback"] for parameter in group["params"]}
    embeddings = {id(module.weight) for module in method.modules() if isinstance(module, nn.Embedding)}
    matrices = {id(module.weight) for module in method.modules() if isinstance(module, nn.Linear)}
    assert len(embeddings) >= 2 and orthogonalised == matrices


def test_an_optimiser_of_other_parameters_is_refused_in_words():
    method, recipe = small("masked_lm")
    groups = parameter_groups(method, recipe)
    fewer = build_optimizer(recipe, groups[:1], 0.1).state_dict()
    with pytest.raises(leaven.UserError, match="begun by another version"):
        restore(build_optimizer(recipe, parameter_groups(method, recipe), 0.1), fewer)


@pytest.mark.parametrize("name", ["adamw", "sgd", "lars", "muon"])
def test_every_optimiser_lowers_a_loss(name):
    method, recipe = small("rotation", **{"recipe.optimizer": name, "recipe.lr": 0.02, "recipe.weight_decay": 0})
    optimizer = build_optimizer(recipe, parameter_groups(method, recipe), recipe.lr)
    views = step_views(method)
    losses = []
    for _ in range(8):
        loss = method.loss(method(views))["rotation"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_the_rate_rises_linearly_and_falls_along_a_cosine():
    assert rate_factor(0.0, 0.1, "cosine") == 0 and rate_factor(0.05, 0.1, "cosine") == pytest.approx(0.5)
    assert rate_factor(0.1, 0.1, "cosine") == 1 and rate_factor(0.55, 0.1, "cosine") == pytest.approx(0.5)
    assert rate_factor(1.0, 0.1, "cosine") == pytest.approx(0.0) and rate_factor(0.9, 0.1, "constant") == 1


def test_rate_rules_follow_the_global_batch():
    assert scaled_rate(0.1, 1024, 256, "linear") == pytest.approx(0.4)
    assert scaled_rate(0.1, 1024, 256, "sqrt") == pytest.approx(0.2)
    assert scaled_rate(0.1, 1024, 256, "none") == 0.1


# --- encoders ---


def test_an_encoder_reads_bytes_floats_and_values_alike():
    encoder = build_encoder("convnet", SPEC, ENCODERS["convnet"]).eval()
    raw = pictures()
    assert torch.allclose(encoder(raw), encoder(raw.float() / 255), atol=1e-5)
    assert torch.equal(encoder(raw), encoder(Pixels(raw)))
    normal = encoder.normalize(raw)
    assert torch.allclose(normal, (raw.float() / 255 - torch.tensor(SPEC.mean).view(1, 3, 1, 1)) / 0.2, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "convnext_atto"])
def test_any_timm_model_is_an_encoder(name):
    encoder = build_encoder(name, InputSpec("pixels", (3, 32, 32))).eval()
    assert encoder(pictures(2, 32)).shape == (2, encoder.dim)


def test_pictures_stored_above_the_training_size_train_a_transformer(tmp_path):
    pictures = torch.randint(0, 256, (24, 3, 36, 36), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    tiny = {"encoder.width": 16, "encoder.depth": 1, "encoder.heads": 2}
    run = leaven.pretrain(pictures, method="mae", size=32, steps=2, batch=8, settings=tiny, out=tmp_path)
    assert leaven.load(run).input.shape == (3, 32, 32)


def test_a_network_that_pictures_are_too_small_for_is_refused():
    with pytest.raises(leaven.UserError, match="32 times smaller, and these have 16 pixels"):
        build_encoder("resnet18", InputSpec("pixels", (3, 16, 16)), {"small_stem": False})
    assert build_encoder("resnet18", InputSpec("pixels", (3, 16, 16))).network.conv1.stride == (1, 1)


def test_features_of_networks_with_a_layer_before_the_classifier_are_as_long_as_they_say():
    encoder = build_encoder("mobilenetv3_small_050", InputSpec("pixels", (3, 64, 64))).eval()
    pictures = torch.rand(2, 3, 64, 64)
    assert encoder(pictures).shape == encoder.with_places(pictures).features.shape == (2, encoder.dim)


def test_small_pictures_get_a_small_stem():
    small_stem = build_encoder("resnet18", InputSpec("pixels", (3, 32, 32)))
    large = build_encoder("resnet18", InputSpec("pixels", (3, 128, 128)))
    assert small_stem.network.conv1.stride == (1, 1) and isinstance(small_stem.network.maxpool, nn.Identity)
    assert large.network.conv1.stride == (2, 2)


def test_vit_tokens_of_kept_places_are_those_places():
    encoder = build_encoder("vit", SPEC, ENCODERS["vit"])
    encoder.layers.layers = torch.nn.ModuleList()  # without layers, in which places would read each other
    keep = torch.tensor([[5, 0]]).expand(4, 2)
    assert torch.allclose(encoder.tokens(pictures(4), keep=keep), encoder.tokens(pictures(4))[:, [5, 0]])


@pytest.mark.parametrize(("name", "told"), [("resnet19", "did you mean"), ("mlp", "reads vector, counts, not pixels")])
def test_a_wrong_encoder_is_one_clear_line(name, told):
    with pytest.raises(leaven.UserError, match=told):
        build_encoder(name, SPEC)


# --- health ---


def test_measures_of_features_on_known_cases():
    one_way = torch.ones(50, 8) + 1e-6
    assert feature_std(one_way) < 1e-3 and rankme(one_way) == pytest.approx(1.0, abs=0.01)
    assert uniformity(one_way) == pytest.approx(0.0, abs=1e-4)
    everywhere = torch.eye(16)
    assert rankme(everywhere) == pytest.approx(16.0, rel=0.01)
    assert feature_std(torch.cat([everywhere, -everywhere])) == pytest.approx(1.0)


def test_what_assignments_tell_on_known_cases():
    assert information(torch.zeros(20, 4)) == pytest.approx(0.0, abs=1e-9)  # evenly to all
    assert information(torch.tensor([[50.0, 0.0, 0.0, 0.0]]).expand(20, 4)) == pytest.approx(0.0, abs=1e-9)  # all to one
    assert information(100 * torch.eye(4).repeat(5, 1)) == pytest.approx(math.log(4), abs=1e-6)  # each to one of four, in no doubt
    half = torch.tensor([[0.75, 0.25], [0.25, 0.75]])
    assert information(half.log()) == pytest.approx(math.log(2) + 0.75 * math.log(0.75) + 0.25 * math.log(0.25), abs=1e-6)


def test_the_choices_that_are_used_on_known_cases():
    assert choices_used(torch.zeros(20, 4)) == pytest.approx(4.0)  # evenly to all
    assert choices_used(100 * torch.eye(8)[:3].repeat(5, 1)) == pytest.approx(3.0, abs=1e-6)
    assert choices_used(torch.tensor([[0.5, 0.5, 1e-12]]).log()) == pytest.approx(2.0, abs=1e-6)


class Watched(Method):
    """Gives the monitor nothing but outputs; one guard can be switched off."""

    guards = {"brake": "the brake"}

    def __init__(self, brake):
        super().__init__()
        self.config = {"brake": brake}

    def encoders(self):
        return {}


@pytest.mark.parametrize(("dims", "brake", "told"), [(1, True, True), (4, True, False), (4, False, True), (32, False, False)])
def test_few_directions_are_a_collapse_the_sooner_where_a_guard_is_off(dims, brake, told):
    said = []
    monitor = Monitor(Watched(brake), Batch.of(x=Pixels(pictures(4))), None, said.append)
    noise = torch.randn(256, 64, generator=torch.Generator().manual_seed(0))
    monitor.look(1, Outputs(embeddings=[noise, noise]))
    few = noise * (torch.arange(64) < dims)
    for step in (2, 3):
        monitor.look(step, Outputs(embeddings=[few, few]))
    assert [verdict.verdict for verdict in said] == (["collapsed"] if told else [])
    assert not told or ("brake=False" in said[0].why) == (not brake)


@pytest.mark.parametrize(("scale", "brake", "told"), [(0.0, True, True), (0.5, True, False), (0.5, False, True), (1.0, False, False)])
def test_assignments_that_come_to_tell_nothing_are_a_collapse(scale, brake, told):
    said = []
    monitor = Monitor(Watched(brake), Batch.of(x=Pixels(pictures(4))), None, said.append)
    logits = torch.randn(256, 16, generator=torch.Generator().manual_seed(0))
    monitor.look(1, Outputs(assignments=[logits]))
    restored = Monitor(Watched(brake), Batch.of(x=Pixels(pictures(4))), None, said.append)
    restored.load(monitor.state())  # what has been seen survives a checkpoint
    for step in (2, 3):
        restored.look(step, Outputs(assignments=[scale * logits]))
    assert [verdict.verdict for verdict in said] == (["collapsed"] if told else [])


@pytest.mark.parametrize(("used", "brake", "told"), [(1, True, True), (2, True, False), (2, False, True), (8, False, False)])
def test_assignments_to_few_prototypes_are_a_collapse_the_sooner_where_a_guard_is_off(used, brake, told):
    said = []
    monitor = Monitor(Watched(brake), Batch.of(x=Pixels(pictures(4))), None, said.append)
    logits = 50 * torch.eye(128)[torch.arange(256) % used]
    for step in (1, 2):
        monitor.look(step, Outputs(assignments=[logits]))
    assert [verdict.verdict for verdict in said] == (["collapsed"] if told else [])
    assert not told or f"{used:.1f} of 128 prototypes" in said[0].why


@pytest.mark.parametrize("shapes", [True, False])
def test_features_that_point_one_way_are_a_collapse_where_the_loss_is_of_them(shapes):
    said, method = [], Method(build_encoder("mlp", InputSpec("vector", (12,), (0.0,) * 12, (1.0,) * 12), {"width": 8}))
    method.shapes_features = shapes
    monitor = Monitor(method, Batch.of(x=Vector(torch.randn(64, 12, generator=torch.Generator().manual_seed(0)))), nullcontext, said.append)
    monitor.look(0, Outputs())
    with torch.no_grad():
        for parameter in method.encoder.parameters():
            parameter.fill_(1.0 if parameter.ndim == 1 else 0.0)
    for step in (1, 2):
        monitor.look(step, Outputs())
    assert [verdict.verdict for verdict in said] == (["collapsed"] if shapes else [])


def test_what_no_loss_is_of_are_features_of_models_of_tokens_and_of_places_and_of_discriminators():
    names = {name for name, kind in registry().items() if not kind.shapes_features}
    tokens, places = {"masked_lm", "causal_lm", "dual_supervised", "joint_dual", "dual_unsupervised"}, {"detection", "segmentation"}
    assert names == tokens | places | {"gan", "dcgan", "conditional_gan", "wgan_gp"}


def test_a_verdict_needs_two_looks_and_is_given_once():
    said = []
    monitor = Monitor(Method(), Batch.of(x=Pixels(pictures(4))), None, said.append)
    monitor.suspect(1, "odd", True, "why", fatal=False)
    monitor.suspect(2, "odd", False, "why", fatal=False)
    monitor.suspect(3, "odd", True, "why", fatal=False)
    assert not said
    for step in (4, 5):
        monitor.suspect(step, "odd", True, "why", fatal=False)
    assert [(verdict.verdict, verdict.since_step) for verdict in said] == [("odd", 3)]


def test_a_verdict_passes_after_two_looks_that_do_not_see_it_and_may_come_back():
    said = []
    monitor = Monitor(Method(), Batch.of(x=Pixels(pictures(4))), None, said.append)

    def seen(*steps, holds):
        for step in steps:
            monitor.suspect(step, "odd", holds, "why", fatal=False)
        return [(verdict.since_step, verdict.until_step) for verdict in monitor.verdicts]

    assert seen(1, 2, holds=True) == [(1, None)]
    assert seen(3, holds=False) == [(1, None)] and seen(4, holds=True) == [(1, None)] and seen(5, holds=False) == [(1, None)]
    assert seen(6, holds=False) == [(1, 5)] and seen(7, 8, holds=False) == [(1, 5)]
    assert [verdict.line() for verdict in said] == ["odd: why", "odd: no longer since step 5"]
    assert [when(verdict.to_dict()) for verdict in said] == ["since step 1", "from step 1 to 5"]
    assert [named(verdict.to_dict()) for verdict in said] == ["odd", "odd for a while"]
    kept = monitor.state()
    again = Monitor(Method(), Batch.of(x=Pixels(pictures(4))), None, said.append)
    again.load(kept)
    assert again.verdicts == monitor.verdicts
    assert seen(9, 10, holds=True) == [(1, None)]


def test_what_a_method_says_of_itself_passes_when_it_no_longer_says_so():
    class Passing(Method):
        ill = True

        def measures(self, outputs):
            return {"number": 1.0}

        def diagnose(self, measures):
            return {"odd": "why"} if self.ill else {}

    method = Passing()
    monitor = Monitor(method, Batch.of(x=Pixels(pictures(4))), nullcontext, lambda verdict: None)
    for step in range(1, 6):
        method.ill = step < 3
        monitor.look(step, Outputs(found=torch.zeros(1)))
    assert [(verdict.verdict, verdict.since_step, verdict.until_step) for verdict in monitor.verdicts] == [("odd", 1, 3)]


DIGITS = {"encoder.width": 16}
SICK = [
    ("simclr", {"temperature": 1000}, "not learning"),
    ("simclr", {"temperature": 0.0001}, "not learning"),
    ("byol", {"stop_gradient": "false", "predictor": ""}, "collapsed"),
    ("byol", {"stop_gradient": "false"}, "collapsed"),
    ("byol", {"predictor": ""}, "collapsed"),
]


@pytest.mark.parametrize(("method", "settings", "verdict"), SICK)
def test_a_sick_training_gets_the_right_verdict_and_stops(method, settings, verdict, tmp_path):
    with pytest.raises(leaven.errors.TrainingStopped) as caught:
        leaven.pretrain("demo:digits", method=method, steps=200, batch=128, out=tmp_path / "run", settings={**DIGITS, **settings})
    assert caught.value.verdict == verdict
    assert [given["verdict"] for given in leaven.Run(tmp_path / "run").health] == [verdict]


# Slow, since each takes some 15 seconds of a core.
COLLAPSES = [
    ("simsiam", {"stop_gradient": "false"}, "targets that carry no gradient"),
    ("vicreg", {"variance": 0}, "the hinge on each dimension's deviation"),
    ("barlow_twins", {"off_diagonal": 0}, "the weight of correlations between dimensions"),
    ("dino", {"centering": "false"}, "the centring of the teacher's scores"),
    ("swav", {"sinkhorn": "false"}, "the equal use of all prototypes"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "settings", "cause"), COLLAPSES)
def test_a_collapse_is_seen_and_its_cause_is_named(method, settings, cause, tmp_path):
    with pytest.raises(leaven.errors.TrainingStopped) as caught:
        leaven.pretrain("demo:digits", method=method, steps=250, batch=128, out=tmp_path / "run", settings={**DIGITS, **settings})
    assert caught.value.verdict == "collapsed"
    assert cause in caught.value.why and f"{next(iter(settings))}=" in caught.value.why


@pytest.mark.slow
@pytest.mark.parametrize("method", [method for method, _, _ in COLLAPSES])
def test_with_its_guard_in_place_the_same_training_is_healthy(method, tmp_path):
    assert leaven.pretrain("demo:digits", method=method, steps=250, batch=128, out=tmp_path / "run", settings=DIGITS).health == []


def test_constant_data_gets_its_verdict_before_the_first_step(tmp_path):
    with pytest.raises(leaven.errors.TrainingStopped) as caught:
        leaven.pretrain(torch.full((64, 3, 16, 16), 7, dtype=torch.uint8), steps=10, batch=32, out=tmp_path / "run")
    assert (caught.value.verdict, caught.value.step) == ("constant data", 0)


@pytest.mark.parametrize("method", ["simclr", "byol", "mae", "rotation"])
def test_a_healthy_training_gets_no_verdict(method, tmp_path):
    settings = DIGITS if method != "mae" else {"encoder.width": 48, "encoder.depth": 2}
    run = leaven.pretrain("demo:digits", method=method, steps=120, batch=128, out=tmp_path / "run", settings=settings)
    assert run.health == []


def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_term(tmp_path):
    with pytest.raises(leaven.errors.TrainingStopped, match="nt_xent is not finite") as caught:
        leaven.pretrain(
            "demo:digits", steps=50, out=tmp_path / "run", settings={**DIGITS, "recipe.lr": 1e30, "recipe.optimizer": "sgd", "recipe.warmup": 0}
        )
    assert caught.value.step >= 1
    assert list((tmp_path / "run" / "checkpoint").glob("*.safetensors"))


@pytest.mark.parametrize("side", [1, 3, 4])
def test_maps_side_by_side_convolve_as_they_do_alone(side):
    layer = SideBySideConv2d(5, 7).double().train()
    x = torch.randn(32, 5, side, side, dtype=torch.float64).contiguous(memory_format=torch.channels_last).requires_grad_()
    expected = F.conv2d(x, layer.weight, padding=1)
    found = layer(x)
    assert torch.allclose(found, expected, atol=1e-12)
    upstream = torch.randn_like(expected)
    for a, b in zip(torch.autograd.grad(found, (x, layer.weight), upstream), torch.autograd.grad(expected, (x, layer.weight), upstream), strict=True):
        assert torch.allclose(a, b, atol=1e-12)


@pytest.mark.parametrize("side", [8, 16, 20, 28, 32, 64, 110])
def test_the_convnet_reads_pictures_of_any_size(side):
    encoder = build_encoder("convnet", InputSpec("pixels", (3, side, side)), ENCODERS["convnet"]).eval()
    assert encoder(pictures(2, side)).shape == (2, 24)
    assert encoder.maps(pictures(2, side)).shape[2] <= 6


def test_a_step_is_seeded_as_by_torch_and_does_not_ask_the_driver_for_gpus():
    seed_device(3, torch.device("cpu"))
    drawn = torch.rand(4)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(4))
    script = f"import os; from leaven.training.devices import launch; launch('cpu', 1, '32-true'); print(os.environ.get({ASK_DRIVER!r}))"
    environment = {name: value for name, value in os.environ.items() if name != ASK_DRIVER}
    told = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "None"
