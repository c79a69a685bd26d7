"""SimSiam, Barlow Twins, VICReg, DINO, iBOT and DINOv2: their mathematics, and what keeps them from collapsing."""

import math

import pytest
import torch
from small import ENCODERS, SPEC, labeled, pictures, small, step_views
from torch import nn
from torch.nn import functional as F

import leaven
from leaven.data import Batch
from leaven.draw import Draw
from leaven.encoders import build_encoder
from leaven.losses import across_crops
from leaven.methods.distillation.barlow_twins import barlow_twins, cross_correlation
from leaven.methods.distillation.dinov2 import koleo
from leaven.methods.distillation.simsiam import negative_cosine
from leaven.methods.distillation.vicreg import covariance, variance_hinge
from leaven.methods.method import Outputs
from leaven.methods.registry import build_method, find_method
from leaven.modalities import InputSpec, Pixels
from leaven.modules.heads import Centering, DINOHead, Prototypes, sinkhorn
from leaven.training.optimizers import build_optimizer, parameter_groups
from leaven.views import MultiCropViews, PictureViews

DINOS = ["dino", "ibot", "dinov2"]


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_gradient(function, *inputs):
    """The value of a function and its gradients."""
    inputs = [tensor.clone().requires_grad_() for tensor in inputs]
    value = function(*inputs)
    return value.detach(), torch.autograd.grad(value, inputs)


def assert_equal_with_gradient(ours, theirs, *inputs, tolerance=1e-10):
    (a, gradients), (b, expected) = with_gradient(ours, *inputs), with_gradient(theirs, *inputs)
    assert torch.allclose(a, b.squeeze(), rtol=tolerance, atol=tolerance)
    for found, wanted in zip(gradients, expected, strict=True):
        assert torch.allclose(found, wanted, rtol=1e-6, atol=tolerance)
    assert any(gradient.abs().max() > 1e-6 for gradient in gradients)


# --- SimSiam ---


def test_simsiam_is_half_the_sum_of_both_negative_cosines():
    outputs = Outputs(
        predictions=[torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 2.0]])], embeddings=[torch.tensor([[0.0, 5.0]]), torch.tensor([[1.0, 1.0]])]
    )
    assert small("simsiam")[0].loss(outputs)["similarity"].item() == pytest.approx(-(math.cos(math.pi / 4) + 1) / 2, abs=1e-6)


def test_simsiam_agrees_with_lightly():
    loss = pytest.importorskip("lightly.loss").NegativeCosineSimilarity(dim=1, eps=1e-6)
    assert_equal_with_gradient(negative_cosine, loss, random(8, 5), random(8, 5, seed=1))


def test_simsiam_embeddings_end_in_batch_norm_without_scale_and_the_predictor_keeps_its_rate():
    method, recipe = small("simsiam")
    last = method.projector[-1]
    assert isinstance(last, nn.BatchNorm1d) and last.weight is None and last.bias is None
    embeddings = torch.cat(method(step_views(method)).embeddings).detach()[:32]
    assert embeddings.mean(0).abs().max() < 1 and embeddings.std(0).median().item() == pytest.approx(1, abs=0.3)
    constant = {id(parameter) for group in parameter_groups(method, recipe) if group["constant"] for parameter in group["params"]}
    assert constant == {id(parameter) for parameter in method.predictor.parameters()}


@pytest.mark.parametrize("stopped", [True, False])
def test_simsiam_targets_carry_gradient_only_where_asked_for(stopped):
    method, _ = small("simsiam", stop_gradient=stopped)
    embeddings = [random(4, 6).requires_grad_(), random(4, 6, seed=1).requires_grad_()]
    method.loss(Outputs(embeddings=embeddings, predictions=[random(4, 6, seed=2).requires_grad_(), random(4, 6, seed=3)]))["similarity"].backward()
    assert (embeddings[0].grad is None) == stopped


# --- Barlow Twins and VICReg ---


def test_barlow_twins_by_hand():
    a = torch.tensor([[1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)  # both dimensions say the same
    b = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)  # the second one says the opposite
    assert torch.allclose(cross_correlation(a, b), torch.tensor([[1.0, -1.0], [1.0, -1.0]], dtype=torch.float64), atol=1e-4)
    invariance, redundancy = barlow_twins(a, b)
    assert invariance.item() == pytest.approx((1 - 1) ** 2 + (1 + 1) ** 2, abs=1e-3)
    assert redundancy.item() == pytest.approx((-1) ** 2 + 1**2, abs=1e-3)


def test_barlow_twins_forgets_shift_and_scale_and_a_constant_dimension_is_finite():
    a, b = random(16, 4), random(16, 4, seed=1)
    for first, second in zip(barlow_twins(a, b), barlow_twins(5 * a + 3, 100 * b - 7), strict=True):
        assert first.item() == pytest.approx(second.item(), rel=1e-4)
    value, gradients = with_gradient(lambda z: sum(barlow_twins(z, b)), torch.zeros(16, 4, dtype=torch.float64))
    assert value.isfinite() and gradients[0].isfinite().all()


def test_barlow_twins_agrees_with_lightly():
    loss = pytest.importorskip("lightly.loss").BarlowTwinsLoss(lambda_param=0.02)

    def ours(a, b):
        invariance, redundancy = barlow_twins(a, b)
        return invariance + 0.02 * redundancy

    assert_equal_with_gradient(ours, loss, random(12, 7), random(12, 7) + 0.3 * random(12, 7, seed=1))


def test_vicreg_by_hand():
    z = torch.tensor([[0.0, 0.0], [1.0, 2.0]], dtype=torch.float64)  # deviations sqrt(1/2) and sqrt(2), covariance 1
    assert variance_hinge(z).item() == pytest.approx((1 - math.sqrt(0.5 + 1e-4)) / 2, abs=1e-9)
    assert covariance(z).item() == pytest.approx(2 * 1.0 / 2, abs=1e-9)
    method, _ = small("vicreg")
    terms = method.loss(Outputs(embeddings=[z, z + 1]))
    assert terms["invariance"].item() == pytest.approx(25.0)
    assert terms["variance"].item() == pytest.approx(25 * variance_hinge(z).item())
    assert terms["covariance"].item() == pytest.approx(2.0)


def test_vicreg_agrees_with_lightly():
    loss = pytest.importorskip("lightly.loss").VICRegLoss()
    method, _ = small("vicreg")
    ours = lambda a, b: sum(method.loss(Outputs(embeddings=[a, b])).values())  # noqa: E731
    assert_equal_with_gradient(ours, loss, 0.5 * random(12, 7), 0.5 * random(12, 7, seed=1))


# --- prototypes, centring, Sinkhorn ---


def test_scores_are_cosines_whatever_the_lengths():
    prototypes, x = Prototypes(6, 4).double(), random(3, 6)
    scores = prototypes(x)
    assert torch.allclose(scores, F.cosine_similarity(x[:, None], prototypes.weight[None], dim=2))
    with torch.no_grad():
        prototypes.weight.mul_(7)
    assert torch.allclose(prototypes(5 * x), scores)


@pytest.mark.parametrize(("rows", "count"), [(64, 8), (8, 64), (30, 30)])
def test_sinkhorn_gives_rows_that_sum_to_one_and_columns_used_alike(rows, count):
    scores = 0.2 * random(rows, count)
    assert torch.allclose(sinkhorn(scores, 0.05).sum(1), torch.ones(rows, dtype=torch.float64))
    assert torch.allclose(sinkhorn(scores, 0.05, iterations=500).sum(0), torch.full((count,), rows / count, dtype=torch.float64), rtol=1e-3)
    assert torch.allclose(sinkhorn(torch.zeros(rows, count), 0.05), torch.full((rows, count), 1 / count))


def test_sinkhorn_of_large_scores_stays_finite():
    found = sinkhorn(1e4 * random(16, 4).float(), 0.05)
    assert found.isfinite().all() and torch.allclose(found.sum(1), torch.ones(16))


def test_sinkhorn_agrees_with_lightly():
    theirs = pytest.importorskip("lightly.loss.swav_loss").sinkhorn
    scores = random(20, 6).tanh()
    assert torch.allclose(sinkhorn(scores, 0.05, 3), theirs(scores, iterations=3, epsilon=0.05), atol=1e-10)


def test_the_center_is_used_before_the_batch_moves_it_and_is_kept_in_the_state():
    assign, scores = Centering(3, momentum=0.9).double(), random(5, 3)
    first = assign(scores, 0.5)
    assert torch.allclose(first, (scores / 0.5).softmax(1))
    assign.update(scores)
    assert torch.allclose(assign.state_dict()["value"], 0.1 * scores.mean(0))
    assert torch.allclose(assign(scores, 0.5), ((scores - 0.1 * scores.mean(0)) / 0.5).softmax(1))


# --- DINO ---


def test_dino_compares_each_large_crop_with_all_other_crops():
    targets = [torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])]
    logits = [torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(3), 0.0]]), torch.tensor([[0.0, math.log(4)]])]
    pairs = [-math.log(3 / 4), -math.log(1 / 5), -math.log(1 / 2), -math.log(4 / 5)]
    assert across_crops(logits, targets).item() == pytest.approx(sum(pairs) / 4, abs=1e-6)
    assert across_crops([torch.zeros(3, 8)] * 4, [torch.ones(3, 8) / 8] * 2).item() == pytest.approx(math.log(8))


def test_dino_agrees_with_lightly_and_so_does_its_center_in_the_second_step():
    lightly = pytest.importorskip("lightly.loss").DINOLoss(output_dim=1024, teacher_temp=1 / 32).double()
    method, _ = small("dino", prototypes=1024, teacher_temperature=(1 / 32, 1 / 32))
    method = method.double()
    for step in range(2):
        teacher = [random(6, 1024, seed=seed + 10 * step).tanh() for seed in range(2)]
        student = [random(6, 1024, seed=seed + 10 * step).tanh() for seed in range(2, 6)]
        ours = lambda *crops: method.loss(Outputs(assignments=[crop / 0.1 for crop in crops], targets=teacher))["crops"]  # noqa: B023, E731
        assert_equal_with_gradient(ours, lambda *crops: lightly(teacher, list(crops)), *student)  # noqa: B023
        lightly.center.copy_(method.assign.value)  # lightly moved its own in both calls
        method.after_step(Outputs(assignments=student, targets=teacher), 0.5)
        expected = method.assign.value.clone()
        lightly.update_center(torch.stack(teacher))
        assert torch.allclose(lightly.center.flatten(), expected)


@pytest.mark.parametrize(("progress", "temperature"), [(0.0, 0.04), (0.15, 0.055), (0.3, 0.07), (1.0, 0.07)])
def test_the_teacher_temperature_rises_to_its_last_value(progress, temperature):
    method, _ = small("dino", prototypes=1024, teacher_temperature=(0.04, 0.07), temperature_warmup=0.3)
    method.progress.fill_(progress)
    scores = random(4, 1024).float()
    (found,) = method.targets(method.assign, [scores])
    assert torch.allclose(found, (scores / temperature).softmax(1), atol=1e-6)


@pytest.mark.parametrize("name", DINOS)
def test_prototypes_get_no_gradient_at_all_at_first_and_do_not_move(name):
    method, recipe = small(name, frozen=0.1)
    optimizer = build_optimizer(recipe, parameter_groups(method, recipe), 0.1)
    before = [head.prototypes.weight.clone() for head in method.heads]
    for progress in (0.1, 0.2):
        frozen = bool(method.progress < 0.1)
        optimizer.zero_grad()
        outputs = method(step_views(method))
        sum(method.loss(outputs).values()).backward()
        assert all((head.prototypes.weight.grad is None) == frozen for head in method.heads)
        assert all(head.layers[0].weight.grad is not None for head in method.heads)
        optimizer.step()
        method.after_step(outputs, progress)
        assert all(torch.equal(head.prototypes.weight, old) == frozen for head, old in zip(method.heads, before, strict=True))


@pytest.mark.parametrize("name", DINOS)
def test_teachers_get_no_gradient_and_see_only_the_large_crops(name):
    method, _ = small(name)
    outputs = method(step_views(method))
    sum(method.loss(outputs).values()).backward()
    assert all(parameter.grad is None for parameter in method.teacher.parameters())
    assert len(outputs.targets) == 2 and len(outputs.assignments) == 2 + method.augment.local_count
    assert not any(target.requires_grad for target in outputs.targets)


def test_the_teacher_of_dino_drops_no_path():
    layers = pytest.importorskip("timm.layers")
    encoder = build_encoder("convnet", SPEC, ENCODERS["convnet"])
    encoder.blocks.append(layers.DropPath(0.5))
    method, _ = build_method(find_method("dino"), labeled().spec, {"x": encoder}, {})
    assert method.encoder.blocks[-1].drop_prob == 0.5
    assert method.teacher.network[0].blocks[-1].drop_prob == 0.0


@pytest.mark.parametrize(("name", "encoder"), [("dino", "convnet"), ("dino", "vit"), ("dino", "vit_tiny_patch16_224"), ("swav", "vit")])
def test_multi_crop_goes_through_convolutions_and_transformers(name, encoder):
    spec = InputSpec("pixels", (3, 32, 32))
    built = build_encoder(encoder, spec, ENCODERS.get(encoder, {}))
    method, _ = build_method(find_method(name), labeled().spec, {"x": built}, {})
    views = method.views(Batch.of(x=Pixels(pictures(4, 32))), Draw(0))
    assert [view.shape[0][1] for view in views] == [32, 32, 16, 16]
    assert [len(part) for part in method(views).assignments] == [4] * 4


def test_plain_numbers_have_two_views_and_no_small_crops(tmp_path):
    run = leaven.pretrain(torch.randn(64, 6), method="dino", steps=3, batch=32, out=tmp_path / "run", settings={"prototypes": 16, "head": "32,8"})
    assert [math.isfinite(row["loss"]) for row in run.metrics] == [True] * 3


def test_temperatures_of_zero_are_refused():
    with pytest.raises(leaven.UserError, match="above 0"):
        small("dino", student_temperature=0)


# --- multi-crop ---


def places(side=64):
    """A picture whose first two channels say where each pixel lies, in 0-1, at some distance from the ends."""
    line = torch.linspace(0, 1, side)
    return torch.stack([line.expand(side, side), line[:, None].expand(side, side), torch.zeros(side, side)])


def test_crops_have_the_counts_sizes_and_scales_asked_for():
    views = MultiCropViews(jitter=0, grey=0, local_count=3, local_size=24)
    crops = views(Pixels(places().expand(64, 3, 64, 64)), Draw(0))
    assert [crop.shape[0] for crop in crops] == [(3, 64, 64)] * 2 + [(3, 24, 24)] * 3

    def areas(crop):
        spans = crop.pixels[:, :2].amax((2, 3)) - crop.pixels[:, :2].amin((2, 3))
        return spans.prod(1)

    large, small = torch.cat([areas(crop) for crop in crops[:2]]), torch.cat([areas(crop) for crop in crops[2:]])
    assert large.min() > 0.3 and large.max() > 0.9 and large.max() <= 1.0001
    assert small.min() < 0.15 and 0.3 < small.max() < 0.45
    assert not torch.equal(crops[2].pixels, crops[3].pixels)


def test_small_crops_are_half_the_side_in_whole_patches():
    for side, patch, expected in [(32, 1, 16), (32, 4, 16), (28, 4, 16), (96, 16, 48), (16, 2, 8), (4, 4, 4)]:
        assert MultiCropViews().fitted((3, side, side), patch).local_size == expected
    assert MultiCropViews(local_size=20).fitted((3, 32, 32), 4).local_size == 20
    method, _ = small("dino")
    assert method.config["views"]["local_size"] == 8


def test_changes_for_each_view_number_the_small_crops_after_the_large_ones():
    local = MultiCropViews(blur=(1.0, 0.1, 0.5), solarize=(0.0, 0.2, 0.0, 0.3)).local(32)
    assert (local.blur, local.solarize, local.size) == ((0.5,), (0.0, 0.3), 16)
    assert MultiCropViews(blur=(0.7,)).local(32).blur == (0.7,)
    assert type(local) is PictureViews


def test_halves_of_a_batch_get_the_crops_of_the_whole():
    value, views = Pixels(pictures(8, 16)), MultiCropViews()
    whole = views(value, Draw(3))
    halves = [views(value[slice(4 * part, 4 * part + 4)], Draw(3, part=part, parts=2)) for part in (0, 1)]
    for number, crop in enumerate(whole):
        assert torch.equal(crop.pixels, torch.cat([half[number].pixels for half in halves]))


@pytest.mark.parametrize(
    ("settings", "told"), [({"local_count": -1}, "local_count"), ({"local_min": 0.5}, "local_min"), ({"local_size": 0}, "local_size")]
)
def test_impossible_crops_are_refused(settings, told):
    with pytest.raises(leaven.UserError, match=told):
        MultiCropViews(**settings)


# --- iBOT and DINOv2 ---


def test_as_many_patches_are_hidden_in_every_large_crop():
    method, _ = small("ibot", mask_ratio=0.3)
    hidden = step_views(method)["hidden"]
    assert [part.shape for part in hidden] == [(32, 19)] * 2 and method.hidden == round(0.3 * 64)
    assert all(len(row.unique()) == 19 for row in hidden[0])
    assert not torch.equal(hidden[0].sort(1).values, hidden[1].sort(1).values)


def test_the_student_never_sees_a_hidden_patch_and_the_teacher_does():
    method, _ = small("ibot")
    method.eval()
    views = step_views(method)
    first = method(views)
    crop = views["crops"][0].pixels.clone().unflatten(3, (8, 2)).unflatten(2, (8, 2))  # (32, 3, 8, 2, 8, 2)
    for sample, places in enumerate(views["hidden"][0]):
        crop[sample, :, places // 8, :, places % 8] = 0.77
    second = method({**views, "crops": [Pixels(crop.flatten(4, 5).flatten(2, 3)), *views["crops"][1:]]})
    assert torch.allclose(first.patch_logits[0], second.patch_logits[0], atol=1e-5)
    assert torch.allclose(first.assignments[0], second.assignments[0], atol=1e-5)
    assert not torch.allclose(first.patch_targets[0], second.patch_targets[0], atol=1e-2)


def test_ibot_patch_loss_agrees_with_lightly():
    lightly = pytest.importorskip("lightly.loss").IBOTPatchLoss(output_dim=1024, teacher_temp=1 / 32).double()
    method, _ = small("ibot", prototypes=1024, teacher_temperature=(1 / 32, 1 / 32))
    method = method.double()
    center = random(1024, seed=9).tanh() / 4
    method.assign_patches.value.copy_(center)
    mask = torch.zeros(4, 4, 4, dtype=torch.bool)
    mask[:, 1:3, 1:3] = True
    student, teacher = random(4, 4, 1024).tanh(), random(4, 4, 1024, seed=1).tanh()
    crops = {"assignments": [torch.zeros(4, 1024, dtype=torch.float64)] * 2, "targets": [torch.zeros(4, 1024, dtype=torch.float64)] * 2}

    def theirs(scores):
        lightly.center.center = center[None]  # it moves in every call
        return lightly(teacher.flatten(0, 1), scores.flatten(0, 1), mask)

    ours = lambda scores: method.loss(Outputs(**crops, patch_logits=[scores / 0.1], patch_targets=[teacher]))["patches"]  # noqa: E731
    assert_equal_with_gradient(ours, theirs, student)


def test_ibot_shares_its_head_and_dinov2_has_one_for_patches():
    shared, apart = small("ibot")[0], small("dinov2")[0]
    assert (len(shared.heads), len(apart.heads)) == (1, 2)
    assert (len(shared.teacher.network), len(apart.teacher.network)) == (2, 3)
    assert "assign_patches.value" in shared.state_dict() and not any("value" in name for name in apart.state_dict())


def test_a_head_reads_pictures_and_patches_alike():
    head = DINOHead(6, (8, 4), 5).eval()
    tokens = torch.randn(3, 7, 6)
    assert head(tokens).shape == (3, 7, 5)
    assert torch.allclose(head(tokens)[:, 2], head(tokens[:, 2]), atol=1e-6)


def test_koleo_by_hand_and_with_duplicates():
    z = torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]], dtype=torch.float64)
    assert koleo(z).item() == pytest.approx(-math.log(math.sqrt(2)), abs=1e-9)  # the nearest neighbour is a quarter turn away for each
    value, gradients = with_gradient(koleo, torch.ones(6, 4, dtype=torch.float64))
    assert value.item() == pytest.approx(-math.log(1e-4)) and torch.equal(gradients[0], torch.zeros_like(gradients[0]))


def test_koleo_agrees_with_lightly_but_for_its_small_numbers():
    assert_equal_with_gradient(koleo, pytest.importorskip("lightly.loss").KoLeoLoss(), random(10, 6), tolerance=1e-6)


def test_dinov2_spreads_each_large_crop_by_itself():
    method, _ = small("dinov2", koleo=0.5)
    outputs = method(step_views(method))
    expected = 0.5 * (koleo(outputs.features[0]) + koleo(outputs.features[1])) / 2
    assert method.loss(outputs)["koleo"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_dinov2_balances_the_targets_of_both_large_crops_together():
    method, _ = small("dinov2", prototypes=8, teacher_temperature=(0.07, 0.07))
    method.progress.fill_(1.0)
    scores = [random(16, 8).float().tanh(), random(16, 8, seed=1).float().tanh() + 0.5]
    found = torch.cat(method.targets(method.assign, scores))
    assert torch.allclose(found, sinkhorn(torch.cat(scores), 0.07, 3), atol=1e-6)
    assert found.sum(0).max() < 2 * found.sum(0).min()
