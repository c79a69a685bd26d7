"""Views: each change against torchvision on the same parameters, and the same views however a batch is cut."""

import json
import math

import pytest
import torch
import torchvision.transforms.v2.functional as tv
from torchvision import tv_tensors

from leaven.draw import Draw
from leaven.errors import UserError
from leaven.modalities import Boxes, Geometry, Mask, Pixels, Signal, Tokens, Vector, Wave, modality_of
from leaven.views import MultiCropViews, PictureViews, TextViews, VectorViews, Views, color, crop, default_views, filters
from leaven.views.crop import rotate, turn_inside

TOLERANCE = 1e-5
COUNT = 12
OFF = {"flip": 0, "jitter": 0, "grey": 0}
ALL_ON = {"blur": (0.6, 0.3), "solarize": (0.3,)}


@pytest.fixture(autouse=True)
def one_thread(request):
    """Small operations wait for each other's threads on a busy machine; only the tests of exactness to the bit use all of them."""
    threads = torch.get_num_threads()
    if "however_a_batch_is_cut" not in request.node.name:
        torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pictures(count: int = COUNT, channels: int = 3, height: int = 32, width: int = 32, seed: int = 0) -> torch.Tensor:
    """uint8 noise over slopes: no symmetry, all hues, some greys, blacks and whites."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 256, (count, channels, height, width), generator=generator)
    slope = torch.linspace(0, 90, width) + torch.linspace(0, 60, height)[:, None]
    x = (noise // 2 + slope.long()).clamp(0, 255).to(torch.uint8)
    x[:, :, 0, :4] = 0
    x[:, :, 1, :4] = 255
    x[:, :, 2, :4] = 77
    return x


def unit(x: torch.Tensor) -> torch.Tensor:
    return x.float() / 255


def each(x: torch.Tensor, function, *parameters) -> torch.Tensor:
    """A function of one picture and its own parameters, for all pictures."""
    return torch.stack([function(x[i], *(p[i] for p in parameters)) for i in range(len(x))])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("sides", "size"), [((32, 32), (32, 32)), ((28, 40), (28, 40)), ((32, 32), (13, 9)), ((24, 20), (31, 40)), ((90, 80), (64, 48))]
)
def test_resized_crop_is_torchvisions(channels, sides, size):
    x = pictures(channels=channels, height=sides[0], width=sides[1])
    boxes = crop.sample_boxes(Draw(3), COUNT, *sides, (0.08, 1.0))
    flip = torch.arange(COUNT) % 2 == 0

    def expected(picture, top, left, height, width, flip):
        crop = tv.resized_crop(picture, int(top), int(left), int(height), int(width), list(size), antialias=True)
        return tv.horizontal_flip(crop) if flip else crop

    ours, theirs = crop.resized_crop(x, boxes, size, flip), each(unit(x), expected, *boxes, flip)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(crop.resized_crop(unit(x), boxes, size, flip), theirs, atol=TOLERANCE, rtol=0)


def test_dense_and_one_by_one_crops_agree(monkeypatch):
    x, boxes = pictures(height=40, width=48), crop.sample_boxes(Draw(3), COUNT, 40, 48)
    flip = torch.arange(COUNT) % 3 == 0
    dense = crop.resized_crop(x, boxes, (30, 20), flip)
    monkeypatch.setattr("leaven.views.crop.DENSE_PIXELS", 0)
    torch.testing.assert_close(crop.resized_crop(x, boxes, (30, 20), flip), dense, atol=TOLERANCE, rtol=0)


def test_boxes_fit_and_cover_the_asked_shares():
    height, width, rows = 48, 64, 20_000
    top, left, box_height, box_width = crop.sample_boxes(Draw(0), rows, height, width, (0.2, 1.0))
    assert all(side.dtype == torch.int64 for side in (top, left, box_height, box_width))
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + box_height <= height).all()
    assert (left + box_width <= width).all()
    assert (top + box_height == height).any()
    assert (top == 0).any()
    share = box_height * box_width / (height * width)
    assert 0.18 < share.min() < 0.21
    assert share.max() > 0.93
    ratio = box_width / box_height
    assert 0.7 < ratio.min() < 0.78
    assert 1.28 < ratio.max() < 1.4


def test_boxes_have_torchvisions_distribution():
    from torchvision.transforms import RandomResizedCrop

    torch.manual_seed(0)
    picture, rows = torch.empty(3, 40, 56), 4000
    theirs = torch.tensor([RandomResizedCrop.get_params(picture, [0.3, 1.0], [0.6, 2.2]) for _ in range(rows)]).float()
    ours = torch.stack(crop.sample_boxes(Draw(0), rows, 40, 56, (0.3, 1.0), (0.6, 2.2)), dim=1).float()
    for column in range(4):
        a, b = ours[:, column].sort().values, theirs[:, column].sort().values
        grid = torch.arange(57.0)
        gap = (torch.searchsorted(a, grid, right=True) - torch.searchsorted(b, grid, right=True)).abs().max() / rows
        assert gap < 1.95 * math.sqrt(2 / rows)  # Kolmogorov-Smirnov, p = 0.001


@pytest.mark.parametrize(("sides", "expected"), [((10, 100), (0, 43, 10, 13)), ((100, 10), (43, 0, 13, 10))])
def test_boxes_that_never_fit_fall_back_to_the_centre(sides, expected):
    boxes = crop.sample_boxes(Draw(0), 5, *sides, (1.0, 1.0))
    assert all(tuple(box) == expected for box in zip(*(side.tolist() for side in boxes), strict=True))


def jittered(x: torch.Tensor, factors: color.JitterFactors) -> torch.Tensor:
    """Each picture by itself through the rounds of its own order."""
    rounds = color.JitterRounds.of(factors, x.shape[1])
    own = [rounds.map(lambda field, i=i: field[i : i + 1]) for i in range(len(x))]
    return torch.cat([color.apply_rounds(x[i : i + 1].clone(), own[i], int(rounds.hue_round[i])) for i in range(len(x))])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("change", ["brightness", "contrast", "saturation", "hue"])
def test_colour_changes_are_torchvisions(change, channels):
    x = unit(pictures(channels=channels))
    strength = torch.linspace(-0.5, 0.5, COUNT) if change == "hue" else torch.linspace(0, 2, COUNT)
    theirs = each(x, lambda picture, s: getattr(tv, f"adjust_{change}")(picture, float(s)), strength)
    ours = jittered(x, color.JitterFactors(torch.arange(4).expand(COUNT, 4), **{change: strength}))
    torch.testing.assert_close(ours, theirs, atol=TOLERANCE, rtol=0)


def test_hue_of_pure_and_grey_colours_is_exact():
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 0.5, 1.0])] * 3).T.reshape(1, 3, 1, 27)
    shifts = torch.tensor([-0.5, -1 / 3, -1 / 6, 0.0, 1 / 6, 0.3, 0.5])
    x = corners.expand(len(shifts), -1, -1, -1).contiguous()
    theirs = each(x, lambda picture, s: tv.adjust_hue(picture, float(s)), shifts)
    torch.testing.assert_close(color.rotate_hue_(x.clone(), shifts), theirs, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("strengths", [(0.4, 0.4, 0.4, 0.1), (0.8, 0.8, 0, 0.2), (0, 0, 0.5, 0.5), (0.4, 0, 0, 0), (0, 0, 0, 0.3)])
def test_jitter_is_torchvisions_in_each_samples_own_order(strengths, channels):
    x = unit(pictures(48, channels=channels))
    factors = color.sample_jitter(Draw(7), 48, *strengths)
    assert len({tuple(order) for order in factors.order.tolist()}) > 12
    changes = [tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue]

    def expected(i):
        picture = x[i]
        for number in factors.order[i].tolist():
            factor = factors[1 + number]
            if factor is not None:
                picture = changes[number](picture, float(factor[i]))
        return picture

    theirs = torch.stack([expected(i) for i in range(48)])
    torch.testing.assert_close(jittered(x, factors), theirs, atol=TOLERANCE, rtol=0)


def test_jitter_orders_and_factors_are_uniform():
    factors = color.sample_jitter(Draw(0), 24_000, 0.4, 1.5, 0.2, 0.1)
    _, counts = factors.order.unique(dim=0, return_counts=True)
    assert len(counts) == 24
    assert counts.min() > 850
    assert counts.max() < 1150
    for factor, low, high in zip(factors[1:], (0.6, 0, 0.8, -0.1), (1.4, 2.5, 1.2, 0.1), strict=True):
        assert low <= factor.min() < low + 0.01
        assert high - 0.01 < factor.max() <= high
        assert abs(factor.mean() - (low + high) / 2) < 0.02


@pytest.mark.parametrize("channels", [1, 3])
def test_greyscale_is_torchvisions(channels):
    x = unit(pictures(channels=channels))
    theirs = tv.rgb_to_grayscale(x, num_output_channels=channels)
    torch.testing.assert_close(color.grayscale(x), theirs, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("sides", [(32, 32), (28, 64), (70, 33)])
def test_blur_is_torchvisions(sides):
    x = unit(pictures(height=sides[0], width=sides[1]))
    sigma = torch.linspace(0.1, 2.0, COUNT)
    sizes = [filters.blur_kernel_size(side) for side in reversed(sides)]
    assert all(size % 2 == 1 and size >= 3 for size in sizes)
    theirs = each(x, lambda picture, s: tv.gaussian_blur(picture, sizes, [float(s)] * 2), sigma)
    torch.testing.assert_close(filters.gaussian_blur(x, sigma), theirs, atol=TOLERANCE, rtol=0)


def test_solarize_is_torchvisions():
    x = unit(pictures())
    assert torch.equal(filters.solarize(x), tv.solarize(x, 0.5))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_rotate_turns_each_sample_by_its_own_quarters(dtype):
    x, turns = pictures().to(dtype), torch.arange(COUNT) % 4
    assert torch.equal(crop.rotate(x, turns), each(x, lambda picture, k: torch.rot90(picture, int(k), (1, 2)), turns))
    with pytest.raises(UserError, match="square"):
        crop.rotate(pictures(height=20), turns)


def test_cutout_blanks_a_square_around_each_centre():
    x = torch.ones(2, 3, 8, 10)
    out = filters.cutout(x, torch.tensor([4, 0]), torch.tensor([5, 9]), side=4)
    expected = x.clone()
    expected[0, :, 2:6, 3:7] = 0
    expected[1, :, 0:2, 7:10] = 0
    assert torch.equal(out, expected)


def test_noise_has_each_samples_own_sigma():
    noise = torch.randn(2, 1, 50, 50, generator=torch.Generator().manual_seed(0))
    out = filters.gaussian_noise(torch.full_like(noise, 0.5), noise, torch.tensor([0.0, 0.05]))
    assert (out[0] == 0.5).all()
    assert out[1].std() == pytest.approx(0.05, rel=0.1)


def test_sobel_gives_the_slopes_of_a_ramp():
    ramp = (0.01 * torch.arange(10.0) + 0.02 * torch.arange(8.0)[:, None]).expand(1, 1, 8, 10)
    inner = filters.sobel(ramp)[0, :, 1:-1, 1:-1]
    torch.testing.assert_close(inner[0], torch.full((6, 8), 0.08))
    torch.testing.assert_close(inner[1], torch.full((6, 8), 0.16))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("side", "size"), [(32, None), (33, None), (40, 27), (72, 66)])
def test_views_are_the_same_however_a_batch_is_cut(side, size, channels):
    x = pictures(32, channels=channels, height=side, width=side)
    make = PictureViews(size=size, **ALL_ON)
    whole = make(Pixels(x), Draw("seed", 5))
    for parts in (4, 32) if side == 33 else (4,):
        rows = 32 // parts
        cut = [make(Pixels(x[i * rows : (i + 1) * rows]), Draw("seed", 5, part=i, parts=parts)) for i in range(parts)]
        for view, expected in enumerate(whole):
            assert torch.equal(torch.cat([part[view].pixels for part in cut]), expected.pixels), f"{parts} parts"


@pytest.mark.parametrize("batch", [1, 2, 100])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_views_of_any_batch_and_channels_lie_in_range(batch, channels):
    for dtype in (torch.uint8, torch.float32):
        x = pictures(batch, channels=channels, height=20, width=24)
        out = PictureViews(count=3, size=16, **ALL_ON)(Pixels(x if dtype == torch.uint8 else unit(x)), Draw(0))
        assert [tuple(view.pixels.shape) for view in out] == [(batch, channels, 16, 16)] * 3
        assert all(view.pixels.dtype == torch.float32 and view.pixels.min() >= 0 and view.pixels.max() <= 1 for view in out)
        assert all(view.pixels.is_contiguous() for view in out)


def test_small_chunks_change_nothing(monkeypatch):
    x = Pixels(pictures(40))
    whole = PictureViews(**ALL_ON)(x, Draw(0))
    monkeypatch.setattr("leaven.views.pictures.CORE_CHUNK", 3 * 32 * 32 * 3)
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(whole, PictureViews(**ALL_ON)(x, Draw(0)), strict=True))


def test_views_are_the_chain_of_their_changes():
    x, draw = pictures(32), Draw("chain")
    out = PictureViews(count=1, **ALL_ON)(Pixels(x), Draw("chain"))[0].pixels
    flip = draw.child("flip", 0).chance(0.5, 32)
    y = crop.resized_crop(x, crop.sample_boxes(draw.child("crop", 0), 32, 32, 32), (32, 32), flip)
    in_colour = jittered(y, color.sample_jitter(draw.child("jitter", 0), 32, 0.4, 0.4, 0.4, 0.1))
    for chosen, changed in [
        (draw.child("jitter_on", 0).chance(0.8, 32), lambda y: in_colour),
        (draw.child("grey", 0).chance(0.2, 32), color.grayscale),
        (draw.child("blur", 0).chance(0.6, 32), lambda y: filters.gaussian_blur(y, draw.child("blur_sigma", 0).uniform(32, low=0.1, high=2.0))),
        (draw.child("solarize", 0).chance(0.3, 32), filters.solarize),
    ]:
        assert 0 < chosen.sum() < 32
        y = torch.where(chosen[:, None, None, None], changed(y), y)
    torch.testing.assert_close(out, y, atol=1e-6, rtol=0)


def test_switching_one_change_on_leaves_the_others_as_they_were():
    x = Pixels(pictures())
    crop = PictureViews(**OFF)(x, Draw(0))
    grey = PictureViews(**OFF | {"grey": 1.0})(x, Draw(0))
    for a, b in zip(crop, grey, strict=True):
        torch.testing.assert_close(color.grayscale(a.pixels), b.pixels, atol=1e-6, rtol=0)


def test_views_of_one_sample_differ_and_repeat_with_the_draw():
    x = Pixels(pictures())
    first, second = PictureViews()(x, Draw(0))
    assert not torch.equal(first.pixels, second.pixels)
    assert torch.equal(first.pixels, PictureViews()(x, Draw(0))[0].pixels)
    assert not torch.equal(first.pixels, PictureViews()(x, Draw(1))[0].pixels)


def test_views_ignore_the_precision_of_the_training_around_them():
    x = Pixels(pictures())
    expected = PictureViews()(x, Draw(0))[0].pixels
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = PictureViews()(x, Draw(0))[0].pixels
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert torch.equal(out, expected)


def test_views_stand_the_newer_way_to_set_a_precision():
    products = torch.backends.cuda.matmul
    before = products.fp32_precision
    try:
        products.fp32_precision = "tf32"
        PictureViews()(Pixels(pictures()), Draw(0))
        assert products.fp32_precision == "tf32"
    finally:
        products.fp32_precision = before


def test_probabilities_of_views_repeat_the_last():
    x = Pixels(pictures())
    plain, *inverted = PictureViews(count=3, crop_min=1, solarize=(0.0, 1.0), **OFF)(x, Draw(0))
    assert torch.equal(plain.pixels, unit(x.pixels))
    assert all(torch.equal(view.pixels, filters.solarize(unit(x.pixels))) for view in inverted)


def test_whole_pictures_are_flipped_exactly():
    x = Pixels(pictures())
    assert torch.equal(PictureViews(count=1, crop_min=1, **OFF | {"flip": 1})(x, Draw(0))[0].pixels, unit(x.pixels).flip(3))


def test_inputs_are_left_alone():
    for x in (pictures(), unit(pictures())):
        before = x.clone()
        for make in (PictureViews(**ALL_ON), PictureViews(crop_min=1, **ALL_ON)):
            out = make(Pixels(x), Draw(0))
            assert torch.equal(x, before)
            assert out[0].pixels.data_ptr() != x.data_ptr()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("side", "size"), [(32, None), (72, 64)])
def test_a_gpu_makes_the_same_views(side, size):
    x = Pixels(pictures(64, height=side, width=side))
    make = PictureViews(size=size, **ALL_ON)
    torch.backends.cuda.matmul.allow_tf32 = True
    for ours, expected in zip(make(x.to("cuda"), Draw(0, device="cuda")), make(x, Draw(0)), strict=True):
        assert ours.pixels.is_cuda
        difference = (ours.pixels.cpu() - expected.pixels).abs()
        assert (difference > TOLERANCE).float().mean() < 1e-4  # solarize may fall on the other side of its threshold
    torch.backends.cuda.matmul.allow_tf32 = False


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", 0),
        ("crop_min", 0),
        ("crop_min", 1.2),
        ("crop_max", 0.1),
        ("crop_max", 1.1),
        ("ratio", (2.0, 1.0)),
        ("ratio", (1.0,)),
        ("flip", 1.5),
        ("jitter", -0.1),
        ("brightness", -1),
        ("hue", 0.6),
        ("grey", "often"),
        ("blur", ()),
        ("blur", (0.5, 2)),
        ("blur_sigma", (0.0, 1.0)),
        ("solarize", (-1,)),
        ("size", 0),
    ],
)
def test_impossible_parameters_are_named(name, value):
    with pytest.raises(UserError, match=name):
        PictureViews(**{name: value})


def test_too_small_to_blur_is_a_user_error():
    with pytest.raises(UserError, match="too small to blur"):
        PictureViews(blur=(1.0,))(Pixels(torch.zeros(2, 3, 1, 1)), Draw(0))


@pytest.mark.parametrize("make", [PictureViews(count=3, blur=(0.5, 0.1), size=24), VectorViews(noise=0.3), TextViews(drop=0.4)])
def test_views_survive_json(make):
    assert Views.from_dict(json.loads(json.dumps(make.to_dict()))) == make


@pytest.mark.parametrize(("config", "match"), [({"kind": "smells"}, "pictures"), ({"kind": "pictures", "crop": 1}, "crop_min"), ({}, "no views")])
def test_unknown_kinds_and_parameters_name_what_there_is(config, match):
    with pytest.raises(UserError, match=match):
        Views.from_dict(config)


@pytest.mark.parametrize("purpose", ["contrast", "byol", "reconstruction", "plain"])
@pytest.mark.parametrize("modality", ["pixels", "vector", "text", "wave", "signal"])
def test_defaults_make_views_of_their_modality(purpose, modality):
    values = {
        "pixels": Pixels(pictures()),
        "vector": Vector(torch.randn(COUNT, 7)),
        "text": Tokens(torch.arange(COUNT * 5).view(COUNT, 5), torch.ones(COUNT, 5, dtype=torch.bool)),
        "wave": Wave(torch.rand(COUNT, 800) - 0.5, torch.full((COUNT,), 800), 8000.0),
        "signal": Signal(torch.randn(COUNT, 3, 200), torch.ones(COUNT, 200, dtype=torch.bool), 100.0),
    }
    make = default_views(purpose, modality)
    out = make(values[modality], Draw(0))
    assert make.modality == modality
    assert len(out) == (2 if purpose in ("contrast", "byol") else 1)
    if purpose == "plain":
        expected = unit(values[modality].pixels) if modality == "pixels" else next(iter(values[modality].tensors().values()))
        assert torch.equal(next(iter(out[0].tensors().values())), expected)


@pytest.mark.parametrize(("purpose", "modality"), [("contrast", "label"), ("dreams", "pixels")])
def test_missing_defaults_are_a_user_error(purpose, modality):
    with pytest.raises(UserError, match="no default views"):
        default_views(purpose, modality)


def test_views_of_another_modality_are_a_user_error():
    with pytest.raises(UserError, match="pixels"):
        PictureViews()(Signal(torch.zeros(1, 2, 3), torch.ones(1, 3, dtype=torch.bool), 100.0), Draw(0))


def test_vector_views_add_noise_of_the_samples_own_size_and_drop_features():
    numbers = torch.randn(400, 50, generator=torch.Generator().manual_seed(0)) * torch.logspace(-2, 2, 400)[:, None]
    noisy = VectorViews(count=1, drop=0)(Vector(numbers), Draw(0))[0].numbers
    share = (noisy - numbers).std(dim=1) / numbers.std(dim=1)
    assert share.mean() == pytest.approx(0.1, rel=0.05)
    assert share.max() < 0.16
    first, second = VectorViews(noise=0)(Vector(numbers), Draw(0))
    assert (first.numbers == 0).float().mean() == pytest.approx(0.2, abs=0.02)
    assert ((first.numbers == numbers) | (first.numbers == 0)).all()
    assert not torch.equal(first.numbers, second.numbers)


def text_batch():
    mask = torch.arange(9) < torch.arange(400)[:, None] % 7 + 3
    return Tokens(torch.arange(400 * 9).view(400, 9), mask)


def test_text_views_delete_tokens_but_neither_ends_nor_all_others():
    value = text_batch()
    ends = torch.zeros_like(value.mask)
    ends[:, 0] = True
    ends[torch.arange(400), value.mask.sum(1) - 1] = True
    for drop in (0.2, 1.0):
        first, second = TextViews(drop=drop)(value, Draw(0))
        assert torch.equal(first.ids, value.ids)
        assert (first.mask & ends).equal(ends) and (first.mask & ~ends).any(dim=1).all() and not (first.mask & ~value.mask).any()
        if drop < 1:
            assert not torch.equal(first.mask, second.mask)
            assert 1 - (first.mask & ~ends).sum() / (value.mask & ~ends).sum() == pytest.approx(0.16, abs=0.05)


def test_text_views_exchange_neighbours_and_nothing_else():
    value = text_batch()
    (view,) = TextViews(count=1, drop=0, swap=0.3)(value, Draw(0))
    assert torch.equal(view.mask, value.mask) and torch.equal(view.ids.sort(1).values, value.ids)
    moved = view.ids - value.ids
    assert set(moved.unique().tolist()) == {-1, 0, 1} and not moved[:, 0].any() and not moved[~value.mask].any()
    assert not moved[torch.arange(400), value.mask.sum(1) - 1].any()
    long = value.mask.sum(1) > 6
    assert (moved[long] != 0).sum() / (value.mask[long].sum() - 2 * long.sum()) == pytest.approx(0.25, abs=0.06)


def test_text_views_of_a_part_are_those_of_the_whole_whatever_its_longest_text():
    value, views = text_batch(), TextViews(drop=0.3, swap=0.3).fitted((12,), 1)
    whole = views(value, Draw(1))
    part = Tokens(value.ids[:200, :9], value.mask[:200])
    half = views(part, Draw(1, part=0, parts=2))
    assert all(torch.equal(a.ids, b.ids[:200]) and torch.equal(a.mask, b.mask[:200]) for a, b in zip(half, whole, strict=True))


@pytest.mark.parametrize("make", [VectorViews(), TextViews(swap=0.2)])
def test_other_views_are_the_same_however_a_batch_is_cut(make):
    numbers = torch.randn(12, 6)
    value = Vector(numbers) if make.modality == "vector" else Tokens(numbers.long(), torch.ones(12, 6, dtype=torch.bool))
    whole = make(value, Draw(3))
    cut = [make(value[slice(4 * i, 4 * i + 4)], Draw(3, part=i, parts=3)) for i in range(3)]
    for view, expected in enumerate(whole):
        joined = type(value).cat([part[view] for part in cut])
        assert all(torch.equal(a, b) for a, b in zip(joined.tensors().values(), expected.tensors().values(), strict=True))


@pytest.mark.parametrize("quarters", range(4))
def test_turning_inside_the_circle_agrees_with_quarter_turns(quarters):
    x = torch.rand(3, 2, 12, 12, generator=torch.Generator().manual_seed(0))
    turned = turn_inside(x, 90 * quarters)
    assert torch.allclose(turned, rotate(turn_inside(x, 0), torch.full((3,), quarters)), atol=1e-5)


def test_turning_inside_the_circle_never_shows_a_corner():
    x = torch.zeros(1, 1, 33, 33)
    row, column = torch.meshgrid(torch.arange(33) - 16, torch.arange(33) - 16, indexing="ij")
    x[0, 0, row**2 + column**2 > 17.5**2] = 1.0
    for degrees in range(0, 360, 15):
        assert turn_inside(x, degrees).max() < 0.5


# --- what moves along ---


def targets(count: int, height: int, width: int, seed: int = 0) -> tuple[Boxes, Mask]:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 5, 2, 2, generator=generator).sort(2).values * torch.tensor([width, height])
    classes = torch.randint(3, (count, 5), generator=generator)
    classes[:, 4] = -1
    return Boxes(corners.flatten(2), classes), Mask(torch.randint(11, (count, height, width), generator=generator, dtype=torch.uint8))


def torchvisions(boxes: torch.Tensor, mask: torch.Tensor, geometry: Geometry, row: int, sides: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """One sample's boxes and mask moved by torchvision on the same parameters."""
    moved = [tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=sides), tv_tensors.Mask(mask)]
    crop = [int(getattr(geometry, name)[row]) for name in ("top", "left", "height", "width")]
    moved = [tv.resized_crop(part, *crop, list(geometry.size)) for part in moved]
    if geometry.flip is not None and geometry.flip[row]:
        moved = [tv.horizontal_flip(part) for part in moved]
    if geometry.quarter_turns is not None:
        moved = [tv.rotate(part, 90.0 * int(geometry.quarter_turns[row])) for part in moved]
    return tuple(part.as_subclass(torch.Tensor) for part in moved)


def assert_moved_as_torchvision(boxes: Boxes, mask: Mask, geometry: Geometry, sides: tuple[int, int]) -> None:
    moved, moved_mask = modality_of(boxes).moved(boxes, geometry), modality_of(mask).moved(mask, geometry)
    kept = moved.classes >= 0
    for row in range(len(boxes)):
        expected, expected_mask = torchvisions(boxes.xyxy[row], mask.classes[row], geometry, row, sides)
        assert torch.equal(moved_mask.classes[row], expected_mask)
        assert torch.allclose(moved.xyxy[row][kept[row]], expected[kept[row]], rtol=0, atol=1e-4)
        left_over = (expected[:, 2:] - expected[:, :2]).amin(1) > 1e-4
        assert torch.equal(kept[row], left_over & (boxes.classes[row] >= 0))
    assert torch.equal(moved.classes[kept], boxes.classes[kept]) and not moved.xyxy[~kept].any()


@pytest.mark.parametrize(("sides", "size"), [((40, 30), None), ((40, 30), 17), ((24, 36), 50), ((33, 33), 33)])
def test_boxes_and_masks_move_with_the_views_as_torchvision_moves_them(sides, size):
    value, (boxes, mask) = Pixels(pictures(20, height=sides[0], width=sides[1])), targets(20, *sides)
    made = PictureViews(count=2, size=size, crop_min=0.1)
    moving, geometries = made.with_geometry(value, Draw(1))
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(moving, made(value, Draw(1)), strict=True))
    for geometry in geometries:
        assert 0 < geometry.flip.sum() < 20
        assert_moved_as_torchvision(boxes, mask, geometry, sides)
    assert (modality_of(boxes).moved(boxes, geometries[0]).classes[:, :4] < 0).any()


def test_boxes_and_masks_turn_by_quarters_as_pictures_do():
    boxes, mask = targets(20, 32, 32)
    turns = torch.arange(20) % 4
    geometry = Geometry.whole(20, (32, 32), quarter_turns=turns)
    assert_moved_as_torchvision(boxes, mask, geometry, (32, 32))
    assert torch.equal(modality_of(mask).moved(mask, geometry).classes, rotate(mask.classes[:, None], turns)[:, 0])


def test_small_crops_have_a_geometry_of_their_own_and_other_values_stay():
    value, (boxes, mask) = Pixels(pictures(8)), targets(8, 32, 32)
    moving, geometries = MultiCropViews(count=2, local_count=3).with_geometry(value, Draw(2))
    assert [view.pixels.shape[2:] for view in moving] == [geometry.size for geometry in geometries] == [(32, 32)] * 2 + [(16, 16)] * 3
    assert_moved_as_torchvision(boxes, mask, geometries[-1], (32, 32))
    numbers = Vector(torch.randn(8, 4))
    assert modality_of(numbers).moved(numbers, geometries[0]) is numbers
    assert VectorViews().with_geometry(numbers, Draw(0))[1] == [None, None]
