"""Pretext tasks ask what they say, and give nothing of the answer away."""

import itertools
import math

import pytest
import torch
from small import ENCODERS, SPEC, pictures, small, step_views
from torch.nn import functional as F

import leaven
from leaven.draw import Draw
from leaven.encoders import build_encoder
from leaven.methods.method import Outputs
from leaven.methods.pretext.colorization import SoftEncoding, balance, gamut
from leaven.methods.pretext.jigsaw import distant_permutations
from leaven.methods.registry import build_method, find_method
from leaven.modalities import InputSpec, Pixels
from leaven.training.trained import trained_method
from leaven.views.color import rgb_to_lab
from leaven.views.patches import cut_patches, drop_colors, enlarge_patches, enlarged_side, normalize_patch, patch_side

PLAIN = {"views.crop_min": 1, "views.flip": 0}


def places(rows=4, side=32):
    """Pictures whose two channels hold the row and the column of each pixel, in 1/256."""
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return (torch.stack([row, column]).float() / 256)[None].expand(rows, -1, -1, -1).contiguous()


def corners(patches):
    """(batch, patches, 2): row and column of each patch's first pixel."""
    return (torch.stack(list(patches), dim=1)[..., 0, 0] * 256).round().long()


# --- patches ---


@pytest.mark.parametrize(("jitter", "gap", "least"), [(0.0, 0.3, 3), (0.5, 0.3, 1), (1.0, 0.3, 0), (1.0, 0.15, 0)])
def test_patches_lie_in_their_cells_with_gaps_and_jitter_within_bounds(jitter, gap, least):
    side = patch_side(32, 3, gap)
    patches = cut_patches(places(200), Draw(0), cells=3, patch=side, jitter=jitter)
    assert len(patches) == 9 and patches[0].shape == (200, 2, side, side)
    for patch in patches:  # each is a piece of the picture, unchanged
        steps = (patch * 256).round().long()
        assert (steps[:, 0].diff(dim=1) == 1).all() and (steps[:, 1].diff(dim=2) == 1).all()
    corner = corners(patches)
    start = torch.tensor([[row, column] for row in (0, 10, 20) for column in (0, 10, 20)])
    offset = corner - start
    free = 10 - side
    assert (offset >= 0).all() and (offset <= free).all()
    assert len(offset.unique()) == round(free * jitter) + 1
    assert jitter > 0 or (offset == free // 2).all()
    gaps = corner[:, 1, 1] - (corner[:, 0, 1] + side)
    assert gaps.min() >= least and (jitter == 0 or gaps.max() > gaps.min())


def test_patches_of_parts_are_those_of_the_whole_batch():
    whole = cut_patches(places(32), Draw(0), cells=3, patch=8, jitter=1.0)
    parts = [cut_patches(places(8), Draw(0, part=part, parts=4), cells=3, patch=8, jitter=1.0) for part in range(4)]
    for place in range(9):
        assert torch.equal(torch.cat([part[place] for part in parts]), whole[place])


def test_patches_have_the_side_of_a_cell_without_its_gap():
    assert [patch_side(32, 3, 0.15), patch_side(96, 3, 0.15)] == [8, 27]
    with pytest.raises(leaven.UserError, match="too small"):
        patch_side(12, 3, 0.5)
    with pytest.raises(leaven.UserError, match="gap"):
        patch_side(32, 3, 1.0)


def test_patches_are_enlarged_to_what_a_network_for_whole_pictures_reads():
    assert [enlarged_side(32, 0.5), enlarged_side(28, 0.5, multiple=4), enlarged_side(32, 0.1, multiple=8)] == [16, 16, 8]
    for share in (0, 1.5):
        with pytest.raises(leaven.UserError, match="enlarge"):
            enlarged_side(32, share)
    patches = torch.rand(9, 4, 3, 8, 8)
    assert torch.equal(enlarge_patches(patches, 8), patches)
    larger = enlarge_patches(patches, 24)
    assert larger.shape == (9, 4, 3, 24, 24) and torch.allclose(larger[..., 1::3, 1::3], patches, atol=1e-6)


def test_normalised_patches_have_the_given_mean_and_deviation_whatever_their_tint():
    x = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor(SPEC.mean).view(1, 3, 1, 1), torch.tensor(SPEC.std).view(1, 3, 1, 1)
    once = normalize_patch(x, mean, std)
    assert torch.allclose(once.mean(dim=(2, 3)), mean[:, :, 0, 0].expand(6, 3), atol=1e-5)
    assert torch.allclose(once.std(dim=(2, 3), correction=0), std[:, :, 0, 0].expand(6, 3), atol=1e-4)
    tinted = x * torch.tensor([0.5, 0.9, 0.7]).view(1, 3, 1, 1) + 0.05
    assert torch.allclose(normalize_patch(tinted, mean, std), once, atol=1e-4)
    assert torch.allclose(normalize_patch(torch.full((1, 3, 4, 4), 0.3), mean, std), mean.expand(1, 3, 4, 4))


def test_dropped_colours_leave_one_channel_and_noise_that_says_nothing():
    x = torch.rand(4, 3, 8, 8)
    noise = torch.randn(4, 3, 8, 8)
    kept = torch.tensor([0, 1, 2, 1])
    left = drop_colors(x, kept, noise)
    for sample, channel in enumerate(kept.tolist()):
        assert torch.equal(left[sample, channel], x[sample, channel])
        for other in {0, 1, 2} - {channel}:
            expected = x[sample, channel].mean() + 0.01 * x[sample, channel].std(correction=0) * noise[sample, other]
            assert torch.allclose(left[sample, other], expected, atol=1e-6)


# --- relative position ---


def test_the_eight_classes_are_the_eight_sides():
    encoder = build_encoder("convnet", InputSpec("pixels", (2, 32, 32)), ENCODERS["convnet"])
    settings = {"normalize_patches": False, "drop": 0.0, "enlarge": 0.25, **PLAIN}
    method, _ = build_method(find_method("relative_position"), None, {"x": encoder}, settings)
    views = method.views(leaven.data.Batch.of(x=Pixels(places(400))), Draw(0))
    center, neighbour = corners([pair.pixels for pair in views["pair"]]).unbind(1)
    direction = ((neighbour - center).float() / 10).round().long()
    sides = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]
    assert direction.tolist() == [list(sides[answer]) for answer in views["position"].tolist()]
    assert views["position"].bincount(minlength=8).min() > 25
    assert (neighbour - center).abs().max(dim=1).values.min() > method.patch  # a gap lies between them


def test_relative_position_hides_the_clues_of_the_lens():
    method, _ = small("relative_position", drop=0.0, **PLAIN)
    for patch in step_views(method)["pair"]:
        assert torch.allclose(patch.pixels.mean(dim=(2, 3)), torch.tensor(SPEC.mean).expand(32, 3), atol=1e-4)
    method, _ = small("relative_position", drop=1.0, normalize_patches=False, **PLAIN)
    first, second = (patch.pixels.std(dim=(2, 3)) for patch in step_views(method)["pair"])
    assert ((first > 0.05).sum(dim=1) == 1).all() and ((second > 0.05).sum(dim=1) == 1).all()
    assert torch.equal(first.argmax(dim=1), second.argmax(dim=1))  # the same channel stays in both


def test_relative_position_is_a_choice_of_eight():
    method, _ = small("relative_position")
    outputs = method(step_views(method))
    assert outputs.logits.shape == (32, 8) and method.chance(outputs) == math.log(8)
    perfect = Outputs(logits=100.0 * F.one_hot(outputs.position, 8), position=outputs.position)
    assert method.loss(perfect)["position"].item() == pytest.approx(0.0, abs=1e-6)


# --- jigsaw ---


def distances(permutations):
    return [(a != b).sum().item() for a, b in itertools.combinations(permutations, 2)]


@pytest.mark.parametrize(("length", "count", "best"), [(3, 2, 3), (3, 3, 3), (3, 6, 2), (4, 4, 4), (4, 12, 3), (5, 5, 5)])
def test_permutations_are_as_far_apart_as_any_set_of_that_size(length, count, best):
    chosen = distant_permutations(length, count)
    assert (chosen.sort(dim=1).values == torch.arange(length)).all() and len(chosen.unique(dim=0)) == count
    assert min(distances(chosen)) == best
    if math.comb(math.factorial(length), count) < 10_000:
        every = [torch.tensor(permutation) for permutation in itertools.permutations(range(length))]
        assert best == max(min(distances(some)) for some in itertools.combinations(every, count))


def test_each_permutation_is_as_far_as_possible_from_those_before_it():
    chosen = distant_permutations(4, 20)
    every = torch.tensor(list(itertools.permutations(range(4))))
    for number in range(1, 20):
        nearest = (every[:, None] != chosen[None, :number]).sum(dim=2).min(dim=1).values
        assert (chosen[number] != chosen[:number]).sum(dim=1).min() == nearest.max()


def test_the_default_permutations_of_nine_tiles_differ_in_seven_places():
    assert min(distances(distant_permutations(9, 64))) == 7


def test_the_inverse_permutation_restores_the_picture():
    method, _ = small("jigsaw", normalize_tiles=False, jitter=0.0, **PLAIN)
    views = step_views(method)
    tiles = torch.stack([tile.pixels for tile in views["tiles"]], dim=1)
    back = method.orders[views["answer"]].argsort(dim=1)
    restored = tiles[torch.arange(32)[:, None], back]
    expected = cut_patches(pictures().float() / 255, Draw(0), cells=3, patch=method.tile, jitter=0.0)
    expected = enlarge_patches(expected, method.shown).transpose(0, 1)
    assert torch.equal(restored, expected)
    assert not torch.equal(tiles, expected)
    assert len(views["answer"].unique()) > 15


def test_normalised_tiles_carry_no_tint():
    for normalize in (True, False):
        method, _ = small("jigsaw", normalize_tiles=normalize)
        tints = torch.stack([tile.pixels.mean(dim=(2, 3)) for tile in step_views(method)["tiles"]])
        assert (tints.std(dim=0).max() < 1e-4) == normalize


def test_jigsaw_is_a_choice_among_its_permutations():
    method, _ = small("jigsaw", permutations=24)
    outputs = method(step_views(method))
    assert outputs.logits.shape == (32, 24) and method.chance(outputs) == math.log(24)
    perfect = Outputs(logits=100.0 * F.one_hot(outputs.answer, 24), answer=outputs.answer)
    assert method.loss(perfect)["order"].item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("jigsaw", {"permutations": 1}, "permutations"),
        ("jigsaw", {"jitter": 2.0}, "jitter"),
        ("jigsaw", {"gap": 0.9}, "too small"),
        ("relative_position", {"drop": -0.1}, "drop"),
        ("colorization", {"rebalance": 0.0}, "rebalance"),
        ("colorization", {"neighbours": 1000}, "neighbours"),
    ],
)
def test_a_wrong_setting_is_refused_when_the_method_is_built(name, settings, told):
    with pytest.raises(leaven.UserError, match=told):
        small(name, **settings)


# --- colorization ---


def test_bins_are_the_colours_that_there_are():
    bins = gamut(10)
    assert (bins % 10 == 0).all() and len(bins.unique(dim=0)) == len(bins) == 261
    listed = {tuple(row) for row in bins.int().tolist()}
    colors = rgb_to_lab(torch.rand(1, 3, 200, 200, generator=torch.Generator().manual_seed(0)))[0, 1:].flatten(1).T
    assert {tuple(row) for row in ((colors / 10).round() * 10).int().unique(dim=0).tolist()} <= listed
    assert (0, 0) in listed and (100, 100) not in listed and (-90, -90) not in listed


@pytest.mark.parametrize(("size", "neighbours"), [(10, 5), (10, 1), (20, 5)])
def test_soft_encoding_takes_the_nearest_bins_of_all_and_sums_to_one(size, neighbours):
    encode = SoftEncoding(size, neighbours, 5.0)
    ab = rgb_to_lab(torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0)) ** 2)[:, 1:].permute(0, 2, 3, 1)
    index, shares = encode(ab)
    assert index.shape == shares.shape == (8, 16, 16, neighbours)
    assert torch.allclose(shares.sum(dim=-1), torch.ones(8, 16, 16), atol=1e-6)
    distance = (ab[..., None, :] - encode.bins).square().sum(dim=-1)
    nearest = distance.topk(neighbours, largest=False).values
    assert torch.allclose(distance.gather(-1, index), nearest, atol=1e-3)
    expected = torch.exp(-nearest / 50) / torch.exp(-nearest / 50).sum(dim=-1, keepdim=True)
    assert torch.allclose(shares, expected, atol=1e-4)


def test_a_bins_own_colour_comes_back():
    encode = SoftEncoding(10, 5, 5.0)
    index, shares = encode(encode.bins)
    assert torch.equal(encode.bins[index[:, 0]], encode.bins)
    assert (shares[:, 0] > 0.6).all() and (shares.argmax(dim=1) == 0).all()
    blended = (encode.bins[index] * shares[..., None]).sum(dim=1)
    inside = torch.tensor([0.0, 0.0])
    assert torch.allclose(blended[(encode.bins == inside).all(dim=1)], inside, atol=1e-3)


def test_balancing_by_hand():
    prior = torch.tensor([0.7, 0.2, 0.1, 0.0])
    mixed = 0.5 * prior + 0.5 / 4
    weights = balance(prior, 0.5)
    assert torch.allclose(weights / weights[0], mixed[0] / mixed, atol=1e-5)
    assert (prior * weights).sum().item() == pytest.approx(1.0)
    assert torch.allclose(balance(prior, 1.0), torch.ones(4))
    assert weights[3] > weights[2] > weights[1] > weights[0]


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((1, 1, 1), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((1, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 1, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 1), (32.30, 79.19, -107.86)),
        ((0.5, 0.5, 0.5), (53.39, 0, 0)),
    ],
)
def test_lab_of_known_colours(rgb, lab):
    found = rgb_to_lab(torch.tensor(rgb, dtype=torch.float32).view(1, 3, 1, 1)).flatten()
    assert torch.allclose(found, torch.tensor(lab, dtype=torch.float32), atol=0.03)


def test_the_encoder_sees_only_lightness():
    method, _ = small("colorization", **PLAIN)
    seen = step_views(method)["grey"].pixels
    assert torch.equal(seen[:, 0], seen[:, 1]) and torch.equal(seen[:, 0], seen[:, 2])
    assert torch.allclose(seen[:, 0], (rgb_to_lab(pictures().float() / 255)[:, 0] / 100).clamp(0, 1), atol=1e-6)


def test_the_colour_loss_by_hand():
    method, _ = small("colorization", neighbours=2)
    bins = len(method.weights)
    method.weights.copy_(torch.linspace(0.5, 2, bins))
    logits = torch.randn(2, 1, 1, bins)
    nearest, shares = torch.tensor([[[[3, 4]]], [[[7, 1]]]]), torch.tensor([[[[0.75, 0.25]]], [[[0.5, 0.5]]]])
    log = logits.log_softmax(-1)
    first = -method.weights[3] * (0.75 * log[0, 0, 0, 3] + 0.25 * log[0, 0, 0, 4])
    second = -method.weights[7] * (0.5 * log[1, 0, 0, 7] + 0.5 * log[1, 0, 0, 1])
    found = method.loss(Outputs(logits=logits, nearest=nearest, shares=shares))["color"]
    assert found.item() == pytest.approx(((first + second) / 2).item(), rel=1e-5)


def test_colours_are_counted_over_the_training_set_and_weighted(tmp_path):
    settings = {"encoder.width": 8, "encoder.features": 24}
    red = pictures(64) // 4 + torch.tensor([150, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1)
    run = leaven.pretrain(red, method="colorization", steps=1, batch=32, out=tmp_path / "run", settings=settings)
    method = trained_method(run)
    ab = F.adaptive_avg_pool2d(rgb_to_lab(red.float() / 255)[:, 1:], 4).permute(0, 2, 3, 1)
    index, shares = method.soft_encode(ab)
    prior = torch.zeros(len(method.weights)).index_add_(0, index.flatten(), shares.flatten()) / shares.sum()
    assert torch.allclose(method.weights, balance(prior, 0.5), rtol=1e-3)
    assert method.expected.sum().item() == pytest.approx(1.0, abs=1e-4)
    rare, common = prior.argmin(), prior.argmax()
    assert method.weights[rare] > 5 * method.weights[common]
    share = prior * method.weights
    assert method.chance(None) == pytest.approx(-(share * share.clamp_min(1e-12).log()).sum().item(), rel=1e-3)
    assert method.chance(None) < math.log(len(prior))


def test_pictures_without_colours_are_refused(tmp_path):
    with pytest.raises(leaven.UserError, match="have 1 channel"):
        leaven.pretrain("demo:digits", method="colorization", steps=1, out=tmp_path / "grey")
    grey = pictures(64)[:, :1].expand(-1, 3, -1, -1).contiguous()
    with pytest.raises(leaven.UserError, match="no colours"):
        leaven.pretrain(grey, method="colorization", steps=1, batch=32, out=tmp_path / "rgb", settings={"encoder.width": 8})
