"""New samples, likelihoods, reconstructions and ways between samples: of a method whose answers are known exactly."""

import csv
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

import leaven
from leaven.methods.method import Method, Outputs, Recipe
from leaven.modalities import Pixels, Vector

SIDE = 6
GENERATOR = torch.Generator().manual_seed(0)
PICTURES = torch.randint(256, (60, 1, SIDE, SIDE), dtype=torch.uint8, generator=GENERATOR)
LABELS = torch.arange(60) % 3
POINTS = torch.randn(50, 4, generator=GENERATOR)


class Mirror(Method):
    """Decodes by the inverse of its linear encoder; a standard normal around 0.5 is its model of each value; a class is a shade of grey."""

    recipe = Recipe(optimizer="sgd", lr=1e-6, batch=20)
    purpose = "plain"
    loss_over_batch = False
    log_prob_is = "log-likelihood"
    learns_labels = True

    def __init__(self, encoder, *, views: object = None):
        super().__init__(encoder)

    def forward(self, views):
        return Outputs(code=self.encoder(views[0]))

    def loss(self, outputs):
        return {"size": outputs.code.square().mean()}

    def log_prob(self, value, draw):
        x = self.encoder.values(value)
        return -0.5 * ((x - 0.5).square() + math.log(2 * math.pi)).sum(1)

    def decode(self, codes):
        (layer,) = self.encoder.layers
        return self.made(torch.linalg.solve(layer.weight, (codes - layer.bias).T).T)

    def sample(self, count, draw, label=None):
        shade = 0.0 if label is None else label[:, None] / 10
        return self.made(0 * draw.normal(count, math.prod(self.encoder.input.shape)) + draw.uniform(count, 1) / 100 + shade)

    def made(self, numbers):
        if self.encoder.input.modality == "vector":
            return Vector(numbers)
        return Pixels(numbers.clamp(0, 1).unflatten(1, self.encoder.input.shape))


class Blind(Mirror):
    """Can do nothing but give features."""

    log_prob_is = ""
    log_prob, decode, sample = Method.log_prob, Method.decode, Method.sample


def trained(method, data, out, values):
    settings = {"encoder.widths": (values,), "encoder.last": "linear", "encoder.raw": True}
    return leaven.pretrain(data, method=method, encoder="dense", steps=1, precision="fp32", settings=settings, out=out, report=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(Mirror, (PICTURES, LABELS), tmp_path_factory.mktemp("pictures") / "run", SIDE * SIDE)


@pytest.fixture(scope="module")
def points(tmp_path_factory):
    return trained(Mirror, POINTS, tmp_path_factory.mktemp("points") / "run", 4)


# --- samples ---


def test_the_same_seed_makes_the_same_samples_and_more_of_them_begin_alike(run):
    first, again, other, more = (leaven.sample(run, count, seed=seed) for count, seed in ((300, 1), (300, 1), (300, 2), (260, 1)))
    assert first.shape == (300, 1, SIDE, SIDE) and first.dtype == np.float32 and 0 <= first.min() <= first.max() <= 1
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert np.array_equal(more[:250], first[:250])
    assert len(np.unique(first[:, 0, 0, 0])) == 300


def test_samples_of_a_class_are_of_that_class(run):
    for label in ("0", "2"):
        assert (leaven.sample(run, 8, label=label)[:, 0, 0, 0] // 0.1 == int(label)).all()
    with pytest.raises(leaven.UserError, match="no class 'cat'"):
        leaven.sample(run, 8, label="cat")


def test_samples_are_written_as_a_sheet_or_as_numbers(run, points, tmp_path):
    made = leaven.sample(run, 9, out=tmp_path / "a.npy")
    assert np.array_equal(np.load(tmp_path / "a.npy"), made)
    leaven.sample(run, 9, out=tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.width == sheet.height > 3 * SIDE
    assert leaven.sample(points, 5, out=tmp_path / "points.npy").shape == (5, 4)
    with pytest.raises(leaven.UserError, match="shows pictures"):
        leaven.sample(points, 5, out=tmp_path / "points.png")
    assert not (tmp_path / "points.png").exists()


# --- likelihoods ---


def test_scores_are_the_methods_own_nats_in_the_datas_order(run, tmp_path):
    found = leaven.score(run, PICTURES, out=tmp_path / "scores.csv", sheet=tmp_path / "odd.png")
    x = PICTURES.flatten(1).double() / 255
    expected = -0.5 * ((x - 0.5).square() + math.log(2 * math.pi)).sum(1)
    assert found.what == "log-likelihood" and np.allclose(found.nats, expected, atol=1e-4)
    told = found.to_dict()
    assert told["nats"] == pytest.approx(expected.mean().item(), abs=1e-4) and told["interval"][0] < told["nats"] < told["interval"][1]
    assert told["bits_per_value"] == pytest.approx(-expected.mean().item() / 36 / math.log(2), abs=1e-5)
    assert [each["index"] for each in told["least_likely"]] == expected.argsort()[:10].tolist()
    with open(tmp_path / "scores.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert np.allclose([float(row["nats"]) for row in rows], expected, atol=1e-3)
    with Image.open(tmp_path / "odd.png") as sheet:
        assert sheet.width > sheet.height


def test_scores_of_data_with_splits_are_told_for_each(run):
    from leaven.data import open_data

    samples = open_data((PICTURES, LABELS))
    split = samples.of("split", samples.rows, splits={"train": torch.arange(40), "test": torch.arange(40, 60)}, class_names=("a", "b", "c"))
    told = leaven.score(run, split).to_dict()["splits"]
    assert {name: part["samples"] for name, part in told.items()} == {"train": 40, "test": 20}


# --- through the code and back ---


def test_what_is_decoded_exactly_has_no_error_beside_that_of_the_mean(run, tmp_path):
    found = leaven.reconstruct(run, PICTURES, out=tmp_path / "back.png")
    x = PICTURES.flatten(1).float() / 255
    assert np.allclose(found.numbers.reshape(60, -1), x, atol=1e-3) and found.squared_error < 1e-6
    assert found.of_the_mean == pytest.approx((x - x.mean(0)).square().mean().item(), rel=1e-5) and found.tested == 60
    with Image.open(tmp_path / "back.png") as sheet:
        assert sheet.width > 10 * SIDE


def test_a_straight_line_of_codes_goes_from_one_sample_to_the_other(run, tmp_path):
    way = leaven.interpolate(run, 3, "#7", data=PICTURES, steps=5, out=tmp_path / "way.png")
    a, b = (PICTURES[row].float().numpy() / 255 for row in (3, 7))
    for step, between in enumerate(way):
        assert np.allclose(between, a + step / 4 * (b - a), atol=1e-3)
    Image.fromarray(PICTURES[3, 0].numpy()).save(tmp_path / "three.png")
    assert np.allclose(leaven.interpolate(run, tmp_path / "three.png", PICTURES[7], steps=2)[0], a, atol=1e-3)


def test_plain_numbers_are_scored_and_reconstructed_as_well(points):
    assert np.allclose(leaven.reconstruct(points, POINTS).numbers, POINTS, atol=1e-3)
    assert len(leaven.score(points, POINTS)) == 50
    assert np.allclose(leaven.interpolate(points, 0, 1, data=POINTS, steps=3)[1], (POINTS[0] + POINTS[1]) / 2, atol=1e-3)


# --- wrong input, and the command line ---


def test_what_a_method_cannot_do_is_said_with_those_that_can(tmp_path):
    blind = trained(Blind, (PICTURES, LABELS), tmp_path / "run", SIDE * SIDE)
    calls = [
        (lambda: leaven.sample(blind), "makes no new samples"),
        (lambda: leaven.score(blind, PICTURES), "gives no likelihood"),
        (lambda: leaven.reconstruct(blind, PICTURES), "makes nothing from its features"),
        (lambda: leaven.interpolate(blind, 0, 1, data=PICTURES), "makes nothing from its features"),
    ]
    for call, words in calls:
        with pytest.raises(leaven.UserError, match=words):
            call()
    assert Mirror.abilities() == ["log_prob", "decode", "sample"] and Blind.abilities() == []


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda run: leaven.sample(run, 0), "at least 1"),
        (lambda run: leaven.sample(run, out="a.jpg"), "png"),
        (lambda run: leaven.score(run, PICTURES, out="a.npy"), "csv"),
        (lambda run: leaven.score(run, PICTURES, sheet="a.pdf"), "png"),
        (lambda run: leaven.score(run, POINTS), "reads pixels"),
        (lambda run: leaven.interpolate(run, 0, 1, data=PICTURES, steps=1), "at least 2"),
        (lambda run: leaven.interpolate(run, 0, 99, data=PICTURES), "no row 99"),
        (lambda run: leaven.interpolate(run, "nowhere.png", "there.png"), "no such picture"),
    ],
)
def test_wrong_input_is_one_clear_line(run, call, words):
    with pytest.raises(leaven.UserError, match=words):
        call(run)


def test_the_commands_answer_in_json(run, command, tmp_path):
    np.save(tmp_path / "points.npy", POINTS.numpy())
    for number, picture in enumerate(PICTURES[:12, 0]):
        Image.fromarray(picture.numpy()).save(tmp_path / f"{number}.png")
    status, out, _ = command("sample", run.path, "--count", 4, "--out", tmp_path / "s.npy", "--json")
    assert status == 0 and json.loads(out) == {"out": str(tmp_path / "s.npy"), "count": 4, "shape": [1, SIDE, SIDE]}
    status, out, _ = command("score", run.path, f"{tmp_path}/*.png", "--json")
    assert status == 0 and json.loads(out)["samples"] == 12 and json.loads(out)["what"] == "log-likelihood"
    status, out, _ = command("reconstruct", run.path, f"{tmp_path}/*.png", "--json")
    assert status == 0 and json.loads(out)["squared_error"] < 1e-6
    status, out, _ = command("interpolate", run.path, tmp_path / "1.png", tmp_path / "2.png", "--out", tmp_path / "w.png", "--json")
    assert status == 0 and json.loads(out)["count"] == 9
    status, out, err = command("sample", run.path, "--out", tmp_path / "s.gif")
    assert status == 2 and out == "" and "png" in err and "Traceback" not in err
