"""Masks hide exactly what they say, and methods that predict the hidden part see none of it."""

import copy

import pytest
import torch
from small import pictures, small, step_views
from torch.nn import functional as F

import leaven
from leaven.draw import Draw
from leaven.encoders import build_encoder
from leaven.encoders.encoder import map_shape
from leaven.methods.masked.context_encoder import GRID, weighted_error
from leaven.methods.masked.data2vec import normalized
from leaven.methods.method import Outputs
from leaven.modalities import InputSpec, Pixels
from leaven.modules.decoder import Everywhere, MapDecoder
from leaven.training.trained import trained_method
from leaven.views.masks import ORDERS, block_order, center_order, check_mask, multi_block, places_to_mask, rectangles, side_order

GRIDS = [(8, 8), (4, 4), (14, 14), (6, 9)]
BLOCKS = {"blocks": 4, "scale": (0.15, 0.2), "ratio": (0.75, 1.5), "context": (0.85, 1.0)}


def hidden_mask(order, hidden, grid):
    return places_to_mask(order[:, -hidden:], grid[0] * grid[1]).view(-1, *grid)


def in_parts(function, parts=4, rows=16):
    """The same draw for one batch, and for its parts."""
    whole = function(Draw(3, "masks"), rows * parts)
    each = [function(Draw(3, "masks", part=part, parts=parts), rows) for part in range(parts)]
    return whole, each


# --- masks ---


@pytest.mark.parametrize("kind", ORDERS)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.75])
def test_an_order_lists_every_patch_once_whatever_is_hidden(kind, grid, ratio):
    patches = grid[0] * grid[1]
    for seed in range(10):
        order = ORDERS[kind](Draw(seed), 7, grid, check_mask(kind, ratio, patches))
        assert order.shape == (7, patches) and order.dtype == torch.int64
        assert (order.sort(dim=1).values == torch.arange(patches)).all()


@pytest.mark.parametrize("kind", ORDERS)
def test_masks_of_parts_are_those_of_the_whole_batch(kind):
    whole, each = in_parts(lambda draw, rows: ORDERS[kind](draw, rows, (8, 8), 38))
    assert torch.equal(torch.cat(each), whole)


@pytest.mark.parametrize("kind", ["random", "blocks", "halves"])
def test_samples_are_masked_differently(kind):
    masks = hidden_mask(ORDERS[kind](Draw(0), 64, (8, 8), 32), 32, (8, 8))
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) >= (4 if kind == "halves" else 60)


def test_halves_are_the_top_bottom_left_or_right():
    masks = hidden_mask(side_order(Draw(0), 200, (4, 6), 12), 12, (4, 6))
    top = torch.zeros(4, 6, dtype=torch.bool)
    top[:2] = True
    left = torch.zeros(4, 6, dtype=torch.bool)
    left[:, :3] = True
    for half in (top, ~top, left, ~left):
        assert 25 <= (masks == half).all(dim=(1, 2)).sum() <= 75
    assert all(any(torch.equal(mask, half) for half in (top, ~top, left, ~left)) for mask in masks)


def test_the_center_is_a_square():
    mask = hidden_mask(center_order(Draw(0), 3, (8, 8), 16), 16, (8, 8))
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[2:6, 2:6] = True
    assert (mask == expected).all()


def test_blocks_are_larger_pieces_than_chance_makes():
    def borders(kind):
        mask = hidden_mask(ORDERS[kind](Draw(1), 200, (8, 8), 38), 38, (8, 8)).int()
        return (mask.diff(dim=1).abs().sum() + mask.diff(dim=2).abs().sum()).item() / 200

    assert borders("blocks") < 0.6 * borders("random")


def test_a_block_that_is_large_enough_is_cut_to_the_exact_count():
    order = block_order(Draw(0), 100, (8, 8), 5, smallest=0.999)  # every rectangle has exactly 5 patches, or nearly so after rounding
    assert (places_to_mask(order[:, -5:], 64).sum(dim=1) == 5).all()


def test_rectangles_cover_what_they_should():
    one = torch.tensor([1.0])
    assert rectangles(one, one * 2, one * 2, one, (3, 4)).view(3, 4).int().tolist() == [[0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]]


@pytest.mark.parametrize(
    ("kind", "ratio", "told"), [("stripes", 0.5, "mask cannot be"), ("random", 0.0, "hides 0 of 64"), ("random", 1.0, "hides 64")]
)
def test_a_mask_that_cannot_be_is_one_clear_line(kind, ratio, told):
    with pytest.raises(leaven.UserError, match=told):
        check_mask(kind, ratio, 64)


@pytest.mark.parametrize("grid", GRIDS)
def test_multi_block_targets_are_rectangles_and_the_context_shares_nothing_with_them(grid):
    rows, columns = grid
    for seed in range(20):
        targets, context = multi_block(Draw(seed), 32, grid, **BLOCKS)
        assert targets.shape[:2] == (32, 4) and context.shape[1] >= 1
        for sample in range(0, 32, 8):
            seen = set(context[sample].tolist())
            assert len(seen) == context.shape[1]
            for block in targets[sample].tolist():
                assert not seen & set(block)
                ys, xs = {place // columns for place in block}, {place % columns for place in block}
                assert len(block) == len(set(block)) == len(ys) * len(xs)
                assert max(ys) - min(ys) == len(ys) - 1 and max(xs) - min(xs) == len(xs) - 1 and max(ys) < rows


def test_multi_block_sizes_follow_their_ranges():
    areas, shapes, counts = [], set(), []
    for seed in range(100):
        targets, context = multi_block(Draw(seed), 8, (14, 14), **BLOCKS)
        areas.append(targets.shape[2] / 196)
        shapes.add(targets.shape[2])
        counts.append(context.shape[1])
    assert min(areas) >= 0.13 and max(areas) <= 0.23 and len(shapes) >= 3
    assert min(counts) >= 196 // 4 - 8


def test_multi_block_of_parts_is_that_of_the_whole_batch():
    for seed in range(10):
        whole = multi_block(Draw(seed), 64, (8, 8), **BLOCKS)
        parts = [multi_block(Draw(seed, part=part, parts=4), 16, (8, 8), **BLOCKS) for part in range(4)]
        assert torch.equal(torch.cat([part.targets for part in parts]), whole.targets)
        assert torch.equal(torch.cat([part.context for part in parts]), whole.context)


def test_multi_block_cuts_the_context_anywhere():
    context = torch.cat([multi_block(Draw(seed), 256, (8, 8), **BLOCKS).context.flatten() for seed in range(20)])
    rows = (context // 8).bincount(minlength=8)
    assert rows[7] > 0.7 * rows[0]  # the bottom is not what is cut


def test_blocks_that_leave_nothing_are_refused():
    with pytest.raises(leaven.UserError, match="leave nothing"):
        multi_block(Draw(0), 8, (4, 4), blocks=1, scale=(1.0, 1.0), ratio=(1.0, 1.0), context=(1.0, 1.0))


# --- MAE ---


@pytest.mark.parametrize("kind", ORDERS)
def test_mae_takes_any_mask(kind):
    method, _ = small("mae", mask=kind, mask_ratio=0.5)
    views = step_views(method)
    assert method(views).prediction.shape[1] == 32
    hidden = hidden_mask(views["order"], 32, (8, 8))
    assert hidden.sum(dim=(1, 2)).tolist() == [32] * 32


# --- I-JEPA ---


def repainted(views, keep, grid=8, patch=2):
    """The same pictures with everything outside of the listed patches painted over."""
    shown = places_to_mask(keep, grid * grid).view(-1, 1, grid, grid).float()
    shown = F.interpolate(shown, scale_factor=patch, mode="nearest") > 0
    return Pixels(torch.where(shown, views["picture"].unit(), 0.77))


def test_ijepa_predicts_from_the_context_alone():
    method, _ = small("ijepa")
    method.eval()
    views = step_views(method)
    first = method(views)
    second = method({**views, "picture": repainted(views, views["context"])})
    assert torch.allclose(first.prediction, second.prediction, atol=1e-5)
    assert not torch.allclose(first.target, second.target, atol=1e-2)


def test_ijepa_targets_are_the_teachers_tokens_of_the_whole_picture_normalised():
    method, _ = small("ijepa")
    views = step_views(method)
    tokens = method.teacher.network[0].tokens(views["picture"])
    tokens = (tokens - tokens.mean(2, keepdim=True)) / (tokens.var(2, keepdim=True, correction=0) + 1e-5).sqrt()
    outputs = method(views)
    expected = torch.stack([tokens[sample][views["targets"][sample].flatten()] for sample in range(32)])
    assert torch.allclose(outputs.target, expected, atol=1e-5)
    assert not outputs.target.requires_grad
    assert outputs.prediction.shape == expected.shape


def test_ijepa_predicts_each_block_by_itself():
    method, _ = small("ijepa")
    method.eval()
    views = step_views(method)
    moved = {**views, "targets": torch.cat([views["targets"][:, :1], views["targets"][:, 1:].flip(1)], dim=1)}
    size = views["targets"].shape[2]
    assert torch.allclose(method(views).prediction[:, :size], method(moved).prediction[:, :size], atol=1e-5)
    assert torch.allclose(method(views).prediction[:, size : 2 * size], method(moved).prediction[:, 3 * size :], atol=1e-5)


def test_ijepa_prediction_knows_where_it_is_asked():
    method, _ = small("ijepa")
    method.eval()
    views = step_views(method)
    moved = {**views, "targets": (views["targets"] + 1) % 64}
    assert not torch.allclose(method(views).prediction, method(moved).prediction, atol=1e-3)


@pytest.mark.parametrize("name", ["ijepa", "data2vec"])
def test_gradients_reach_all_but_the_teacher(name):
    method, _ = small(name)
    sum(method.loss(method(step_views(method))).values()).backward()
    assert all(parameter.grad is None for parameter in method.teacher.parameters())
    unused = [key for key, parameter in method.named_parameters() if parameter.requires_grad and parameter.grad is None]
    assert unused == []


@pytest.mark.parametrize("name", ["ijepa", "data2vec"])
def test_the_loss_is_smooth_l1_by_hand(name):
    method, _ = small(name)
    outputs = Outputs(prediction=torch.tensor([[[0.0, 0.0]]]), target=torch.tensor([[[0.5, 6.0]]]))
    beta = 2.0 if name == "data2vec" else 1.0
    expected = (0.5 * 0.5**2 / beta + (6 - 0.5 * beta)) / 2
    assert method.loss(outputs)["prediction"].item() == pytest.approx(expected)


@pytest.mark.parametrize("name", ["ijepa", "data2vec"])
def test_without_stop_gradient_the_targets_are_the_encoders_own(name):
    method, _ = small(name, stop_gradient=False)
    assert method(step_views(method)).target.requires_grad
    assert set(method.guards) == {"stop_gradient"}


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("ijepa", {"blocks": 0}, "blocks must be 1"),
        ("ijepa", {"block_scale": (0.3, 0.2)}, "block_scale"),
        ("ijepa", {"context_scale": (0.5, 1.5)}, "context_scale"),
        ("data2vec", {"normalize": "batch"}, "choose tokens or channels"),
        ("data2vec", {"top_layers": 0}, "top_layers"),
        ("data2vec", {"momentum": (0.9, 1.1)}, "momentum"),
        ("data2vec", {"mask": "holes"}, "mask cannot be"),
        ("context_encoder", {"overlap": 0.7}, "overlap"),
    ],
)
def test_a_wrong_setting_is_refused_when_the_method_is_built(name, settings, told):
    with pytest.raises(leaven.UserError, match=told):
        small(name, **settings)


# --- data2vec ---


def test_normalisation_over_tokens_and_over_channels_by_hand():
    tokens = torch.tensor([[[1.0, 10.0], [3.0, 10.0]]])
    assert torch.allclose(normalized(tokens, 1), torch.tensor([[[-1.0, 0.0], [1.0, 0.0]]]), atol=1e-4)
    assert torch.allclose(normalized(tokens, 2), torch.tensor([[[-1.0, 1.0], [-1.0, 1.0]]]), atol=1e-4)


def deep(name, depth=3, **settings):
    from leaven.methods.registry import build_method, find_method

    torch.manual_seed(0)
    encoder = build_encoder("vit", InputSpec("pixels", (3, 16, 16)), {"width": 24, "depth": depth, "heads": 2})
    return build_method(find_method(name), None, {"x": encoder}, settings)[0]


@pytest.mark.parametrize(("top", "normalize"), [(1, "tokens"), (2, "tokens"), (2, "channels"), (9, "channels")])
def test_data2vec_targets_average_the_top_layers_of_the_teacher(top, normalize):
    method = deep("data2vec", top_layers=top, normalize=normalize)
    layers = method.teacher.network[0].token_features(pictures(4)).layers
    assert len(layers) == 3
    dim = 1 if normalize == "tokens" else 2
    expected = sum((x - x.mean(dim, keepdim=True)) / (x.var(dim, keepdim=True, correction=0) + 1e-5).sqrt() for x in layers[-top:]) / min(top, 3)
    assert torch.allclose(method.targets(Pixels(pictures(4))), expected, atol=1e-4)


def test_data2vec_targets_do_not_depend_on_the_students_mask_and_the_student_sees_none_of_the_hidden():
    method = deep("data2vec").eval()
    views = {"sample": Pixels(pictures(8)), "hidden": Draw(0).permutations(64, 8)[:, :38]}
    assert torch.equal(method.targets(views["sample"]), method.targets(views["sample"]))
    other = {**views, "hidden": Draw(1).permutations(64, 8)[:, :38]}
    whole = method.targets(views["sample"])
    for each in (views, other):
        assert torch.equal(method(each).target[3], whole[3][each["hidden"][3]])
    shown = Draw(0).permutations(64, 8)[:, 38:]
    painted = {**views, "sample": repainted({"picture": views["sample"]}, shown)}
    assert torch.allclose(method(views).prediction, method(painted).prediction, atol=1e-5)


def test_data2vec_hides_the_asked_share_in_blocks():
    method, _ = small("data2vec")
    hidden = step_views(method)["hidden"]
    assert hidden.shape == (32, 38)
    assert (places_to_mask(hidden, 64).sum(dim=1) == 38).all()


def test_data2vec_momentum_rises_linearly_between_its_two_values():
    method, _ = small("data2vec", momentum=(0.5, 0.9))
    before = [parameter.clone() for parameter in method.teacher.parameters()]
    with torch.no_grad():
        for parameter in method.encoder.parameters():
            parameter.add_(1.0)
    method.after_step(Outputs(), 0.25)
    for old, new in zip(before, method.teacher.parameters(), strict=True):
        assert torch.allclose(new, old + 0.4, atol=1e-6)


def test_data2vec_teacher_starts_as_the_encoder():
    method, _ = small("data2vec")
    assert all(torch.equal(a, b) for a, b in zip(method.teacher.parameters(), method.encoder.parameters(), strict=True))


# --- context encoder ---


def test_the_context_encoder_sees_the_mean_colour_where_something_is_hidden():
    method, _ = small("context_encoder", mask="center", **{"views.crop_min": 1, "views.flip": 0})
    views = step_views(method)
    seen, hidden = views["seen"].pixels, views["hidden"].bool()
    assert hidden.sum(dim=(1, 2, 3)).tolist() == [64] * 32
    assert hidden[0, 0, 4:12, 4:12].all()
    mean = torch.tensor(method.encoder.input.mean).view(1, 3, 1, 1).expand_as(seen)
    assert torch.allclose(seen[hidden.expand_as(seen)], mean[hidden.expand_as(seen)], atol=1e-6)
    original = pictures().float() / 255
    assert torch.allclose(seen[~hidden.expand_as(seen)], original[~hidden.expand_as(seen)], atol=1e-6)


@pytest.mark.parametrize("kind", ORDERS)
def test_the_context_encoder_hides_the_asked_share(kind):
    method, _ = small("context_encoder", mask=kind, mask_ratio=0.5)
    assert (step_views(method)["hidden"].mean(dim=(1, 2, 3)) == 0.5).all() and GRID == (8, 8)


def test_the_border_around_the_hidden_part_weighs_more_and_the_rest_nothing():
    method, _ = small("context_encoder", mask="center", overlap=0.0625, overlap_weight=10.0)
    weight = method(step_views(method)).weight[0, 0]
    expected = torch.zeros(16, 16)
    expected[3:13, 3:13] = 10
    expected[4:12, 4:12] = 1
    assert torch.equal(weight, expected)
    method, _ = small("context_encoder", mask="center", overlap=0.0)
    assert torch.equal(method(step_views(method)).weight[0, 0] > 0, expected == 1)


def test_the_weighted_error_by_hand():
    target = torch.tensor([[[[1.0, 2.0], [3.0, 0.0]]], [[[2.0, 0.0], [0.0, 0.0]]]])
    weight = torch.tensor([[[[1.0, 3.0], [0.0, 0.0]]], [[[1.0, 0.0], [0.0, 0.0]]]])
    assert weighted_error(torch.zeros_like(target), target, weight).item() == pytest.approx(((1 + 3 * 4) / 4 + 4) / 2)


def test_the_context_encoder_paints_at_any_size():
    for side in (16, 20, 32):
        encoder = build_encoder("convnet", InputSpec("pixels", (3, side, side)), {"width": 8, "features": 24})
        shape = map_shape(encoder)
        assert shape == tuple(encoder.maps(torch.zeros(2, 3, side, side)).shape[1:]) and encoder.training
        assert MapDecoder(shape, 3, (side, side), mixes=True)(torch.randn(2, *shape)).shape == (2, 3, side, side)


def test_channelwise_mixing_is_one_matrix_a_channel():
    layer = Everywhere(2, 6)
    maps = torch.randn(4, 2, 2, 3)
    expected = torch.stack([maps[:, channel].flatten(1) @ layer.weight[channel] for channel in range(2)], dim=1).view(4, 2, 2, 3)
    assert torch.allclose(layer(maps), expected, atol=1e-6)


# --- health ---

COARSE = {"encoder.width": 48, "encoder.depth": 2, "encoder.patch": 4}


@pytest.mark.parametrize("name", ["ijepa", "data2vec"])
def test_a_healthy_training_keeps_its_targets_apart_and_gets_no_verdict(name, tmp_path):
    run = leaven.pretrain("demo:digits", method=name, steps=60, batch=64, out=tmp_path / "run", settings=COARSE)
    assert run.health == []
    assert all(row["embedding_std"] > 0.1 for row in run.metrics if "embedding_std" in row)


@pytest.mark.parametrize("name", ["ijepa", "data2vec"])
def test_without_stop_gradient_the_training_collapses_and_the_monitor_says_why(name, tmp_path):
    settings = {**COARSE, "stop_gradient": "false", "recipe.schedule": "constant"}
    with pytest.raises(leaven.errors.TrainingStopped) as caught:
        leaven.pretrain("demo:digits", method=name, steps=200, batch=64, out=tmp_path / "run", settings=settings)
    assert caught.value.verdict == "collapsed" and "stop_gradient=False" in str(caught.value)


def test_a_teacher_is_restored_with_the_method(tmp_path):
    settings = {"encoder.width": 24, "encoder.depth": 1, "encoder.heads": 2}
    run = leaven.pretrain("demo:digits", method="data2vec", steps=3, batch=32, out=tmp_path / "run", settings=settings)
    method = trained_method(run)
    student, teacher = copy.deepcopy(method.encoder).state_dict(), method.teacher.network[0].state_dict()
    assert any(not torch.equal(student[key], teacher[key]) for key in student)
