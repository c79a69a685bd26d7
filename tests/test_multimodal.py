"""Methods of several senses: their losses against open_clip, what belongs together, and classes that are found by their names."""

import csv
import json
import math

import numpy as np
import open_clip.loss
import pytest
import torch
from small import samples_for, small, small_settings, step_views, towers
from test_pairs_of_modalities import SMALL, drawn
from torch.nn import functional as F

import leaven
from leaven.data.sources.shapes import COLOURS, unseen
from leaven.data.sources.shapes import drawn as drawn_shapes
from leaven.draw import Draw
from leaven.errors import UserError
from leaven.losses import matched
from leaven.methods import Outputs
from leaven.methods.towers import belonging
from leaven.modalities import Pixels, Tokens
from leaven.training.trained import trained_method

NAMES = ("clip", "siglip")


def unit(count, dim=12, seed=0):
    return F.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=1)


def outputs_of(first, second, *same):
    return Outputs(embeddings=[first, second], same=[torch.as_tensor(keys) for keys in same])


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_and_its_gradient_are_those_of_open_clip(name):
    method = small(name, scale=7.0, **({"bias": -4.0} if name == "siglip" else {}))[0].double()
    first, second = (unit(9, seed=seed).requires_grad_() for seed in (0, 1))
    (ours,) = method.loss(outputs_of(first, second, range(9), range(9))).values()
    scale, bias = torch.tensor(7.0, dtype=torch.float64), torch.tensor(-4.0, dtype=torch.float64)
    theirs = open_clip.loss.ClipLoss()(first, second, scale) if name == "clip" else open_clip.loss.SigLipLoss()(first, second, scale, bias)
    assert torch.allclose(ours, theirs, atol=1e-7)
    for mine, other in zip(*(torch.autograd.grad(loss, (first, second), retain_graph=True) for loss in (ours, theirs)), strict=True):
        assert torch.allclose(mine, other, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_captions_of_one_picture_and_pictures_of_one_caption_are_no_negatives(name):
    method = small(name, scale=5.0)[0]
    first, second = unit(4).float(), unit(4, seed=1).float()
    right = belonging([torch.tensor([0, 1, 0, 2]), torch.tensor([5, 6, 7, 6])])
    assert right.tolist() == [[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1]]
    (loss,) = method.loss(outputs_of(first, second, [0, 1, 0, 2], [5, 6, 7, 6])).values()
    logits = 5 * first @ second.T
    if name == "clip":
        share = right / right.sum(1, keepdim=True)
        expected = -(share * logits.log_softmax(1)).sum(1).mean() / 2 - (share * logits.log_softmax(0)).sum(0).mean() / 2
    else:
        logits = logits + method.bias
        expected = -torch.where(right, F.logsigmoid(logits), F.logsigmoid(-logits)).sum() / 4
    assert torch.allclose(loss, expected, atol=1e-6)


def test_equal_logits_cost_the_logarithm_of_the_batch():
    assert matched(torch.zeros(8, 8), torch.eye(8, dtype=torch.bool)).item() == pytest.approx(math.log(8))


def test_keys_are_equal_where_the_content_is():
    pixels = torch.randint(256, (6, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pixels[4] = pixels[1]
    assert belonging([Pixels(pixels).keys()]).sum() == 8
    assert belonging([Pixels(pixels.float() / 255).keys()]).sum() == 8
    ids, mask = torch.tensor([[1, 5, 2, 0], [1, 5, 2, 9], [1, 2, 5, 0]]), torch.tensor([[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0]], dtype=torch.bool)
    assert belonging([Tokens(ids, mask).keys()]).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize("name", NAMES)
def test_the_scale_stays_within_its_bounds_and_takes_no_decay(name):
    method = small(name)[0]
    for value, bounded in ((9.0, math.log(100)), (-1.0, 0.0)):
        method.log_scale.data.fill_(value)
        method.after_step(Outputs(), 0.5)
        assert method.log_scale.item() == pytest.approx(bounded)
    assert method.no_weight_decay() == {"log_scale"}


def test_repeated_captions_and_a_scale_at_its_bound_are_verdicts():
    method = small("clip")[0]
    outputs = outputs_of(unit(6).float(), unit(6, seed=1).float(), range(6), [0] * 6)
    method.log_scale.data.fill_(math.log(100))
    assert set(method.diagnose(method.measures(outputs))) == {"repeated content", "scale at its bound"}
    method.log_scale.data.fill_(2.0)
    assert not method.diagnose(method.measures(outputs_of(unit(6).float(), unit(6, seed=1).float(), range(6), range(6))))


@pytest.mark.parametrize("name", NAMES)
def test_a_locked_input_keeps_its_encoder(name, tmp_path):
    settings = {**small_settings(name), "locked": "image"}
    first = small(name, locked="image")[0]
    assert not any(parameter.requires_grad for parameter in first.senses["image"].parameters())
    assert not first.train().senses["image"].training and first.senses["text"].training
    run = leaven.pretrain(samples_for(name), method=name, steps=3, batch=16, out=tmp_path / "run", settings=settings, report=False)
    start = leaven.pretrain(samples_for(name), method=name, steps=1, batch=16, out=tmp_path / "start", settings=settings, report=False)
    after, before = (trained_method(each, name).encoders() for each in (run, start))
    assert all(torch.equal(a, b) for a, b in zip(after["image"].parameters(), before["image"].parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(after["text"].parameters(), before["text"].parameters(), strict=True))


def test_each_input_has_views_of_its_own():
    method = small("clip", **{"views.image.flip": 0.0, "views.text.drop": 0.3})[0]
    assert method.augment["image"].flip == 0 and method.augment["text"].drop == 0.3
    assert small("clip", **{"views.flip": 0.0})[0].augment["image"].flip == 0
    views = step_views(method, Draw(0, "views"))["views"]
    assert set(views) == set(towers("clip")) and views["image"].pixels.shape[1:] == (3, 16, 16)
    for settings in ({"views.sound.flip": 0}, {"views.fold": 0}, {"views.image.drop": 0}):
        with pytest.raises(UserError, match="views"):
            small("clip", **settings)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (lambda: samples_for("simclr"), "clip learns from two inputs of a sample, and this data has 1: x"),
        (lambda: {**samples_for("clip"), "more": torch.rand(32, 4)}, "this data has 3: image, text, more"),
    ],
)
def test_other_than_two_inputs_are_one_line(data, told, tmp_path):
    with pytest.raises(UserError, match=told) as refusal:
        leaven.pretrain(data(), method="clip", steps=1, out=tmp_path / "run")
    assert "\n" not in str(refusal.value) and not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def shapes():
    pictures, names, colors = drawn()
    return {"image": pictures, "text": names}, {"image": pictures, "label": colors}, colors


@pytest.fixture(scope="module")
def run(shapes, tmp_path_factory):
    out = tmp_path_factory.mktemp("clip") / "run"
    return leaven.pretrain(shapes[0], method="clip", steps=120, batch=32, settings={**SMALL, "dim": 32}, out=out, report=False)


def test_classes_are_found_by_their_names_far_above_the_untrained_encoders(run, shapes, tmp_path):
    (tmp_path / "names.csv").write_text("class,name\nred,a red square\ngreen,a green dot\nblue,a blue ring\ngrey,a grey bar\n")
    settings = {"zero-shot.templates": ("a {} square", "a {} dot", "a {} ring", "a {} bar")}
    card = leaven.evaluate(run, shapes[1], protocols=("zero-shot",), settings=settings, report=False)
    score, floors = card.scores["zero-shot"], card.floors
    assert score["accuracy"] > 0.8 and score["accuracy"] > floors["untrained"]["zero-shot"]["accuracy"] + 0.2 and score["classes"] == 4
    assert [row[0] for row in card.table()[1:]] == ["zero-shot", "probe, 1 label per class", "probe, 5 labels per class", "linear probe, all labels"]
    named = leaven.evaluate(run, shapes[1], protocols=("zero-shot",), classes=tmp_path / "names.csv", report=False)
    assert named.scores["zero-shot"]["accuracy"] > 0.4


def test_pictures_without_labels_get_the_class_whose_name_is_nearest(run, shapes, tmp_path, command):
    (tmp_path / "names.txt").write_text("red\ngreen\nblue\ngrey\n")
    predictions = leaven.predict(run, shapes[0]["image"], classes=tmp_path / "names.txt", templates=["a {} square", "a {} dot"])
    right = sum(name == color for name, color in zip(predictions.labels, shapes[2], strict=True))
    assert right > 0.7 * len(shapes[2]) and not predictions.calibrated
    np.save(tmp_path / "pictures.npy", shapes[0]["image"].numpy())
    out = tmp_path / "named.csv"
    status, printed, _ = command(
        "predict", run.path, tmp_path / "pictures.npy", "--classes", tmp_path / "names.txt", "--templates", "a {} square", "--out", out, "--json"
    )
    with open(out, newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert status == 0 and json.loads(printed)["count"] == len(rows) == len(shapes[2])
    assert {row["label"] for row in rows} <= {"red", "green", "blue", "grey"}


@pytest.mark.parametrize(
    ("text", "templates", "told"),
    [("one\n", ("{}",), "does not name two classes"), ("one\none\n", ("{}",), "each once"), ("one\ntwo\n", ("a picture",), "has no {}")],
)
def test_names_that_do_not_fit_are_one_line(run, shapes, tmp_path, text, templates, told):
    (tmp_path / "names.txt").write_text(text)
    with pytest.raises(UserError, match=told):
        leaven.predict(run, shapes[0]["image"], classes=tmp_path / "names.txt", templates=templates)
    with pytest.raises(UserError, match="no such file"):
        leaven.predict(run, shapes[0]["image"], classes=tmp_path / "none.txt")


def test_drawn_shapes_keep_some_pairs_of_shape_and_colour_for_later_and_say_what_they_are():
    world, again = drawn_shapes(300, 60, 60), drawn_shapes(300, 60, 60)
    assert torch.equal(world.pictures, again.pictures) and world.captions == again.captions
    assert [world.splits.count(name) for name in ("train", "test", "unseen")] == [300, 60, 60]
    for shape, colour, split, caption in zip(world.shapes, world.colours, world.splits, world.captions, strict=True):
        assert unseen(shape, colour) == (split == "unseen") and shape in caption and colour in caption
    for colour, numbers in COLOURS.items():
        rows = [row for row, name in enumerate(world.colours) if name == colour]
        shown = (world.pictures[rows] == torch.tensor(numbers, dtype=torch.uint8)[:, None, None]).all(1)
        assert shown.flatten(1).any(1).all()
    for arrangement, size, ground, caption in zip(world.arrangements, world.sizes, world.grounds, world.captions, strict=True):
        assert size in caption and caption.endswith(f" on {ground}") and arrangement in caption


def test_striped_shapes_stand_where_filled_ones_do_and_show_about_half_of_them():
    filled, striped = (drawn_shapes(60, 0, 0, striped=style) for style in (False, True))
    assert filled.captions == striped.captions
    ground = filled.pictures[:, :, :1, :1]
    covered = [(world.pictures != ground).any(1).flatten(1).float() for world in (filled, striped)]
    assert (covered[1] <= covered[0]).all()
    assert (covered[1].mean(1) / covered[0].mean(1)).mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.slow
def test_the_demo_of_pairs_ends_with_what_a_sentence_finds(tmp_path):
    card = leaven.demo(out=tmp_path / "demo", budget="20s", pairs=True)
    assert set(card.scores) == {"zero-shot", "pairs"} and card.scores["pairs"]["map"] > 0.3
    assert (tmp_path / "demo" / "found.png").is_file() and (tmp_path / "demo" / "report.html").is_file()
