"""What is said before training takes away what matters in pictures: left and right, colour, detail."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

import leaven
from leaven.data import open_data
from leaven.inspection.taken_away import TakenAway
from leaven.methods.registry import find_method


def page(seed, *, side=48):
    """A piece of a page of letters."""
    generator = np.random.default_rng(seed)
    picture = Image.new("L", (side, side), 255)
    draw = ImageDraw.Draw(picture)
    for row in range(0, side, 12):
        draw.text((int(generator.integers(-12, 4)), row), "".join(generator.choice(list("BCDEFGJKLPQRSabcdefghkpqrs "), 12)), fill=0)
    return np.asarray(picture)


def blobs(seed, *, side=32):
    """Spots in random places: their mirror images are as likely as they are."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    spots = [np.exp(-((y - row) ** 2 + (x - column) ** 2) / 20) for row, column in generator.uniform(0, side, (4, 2))]
    return (255 * np.clip(sum(spots), 0, 1)).astype(np.uint8)


def signs(seed, *, side=32):
    """One of twenty shapes, in one of five colours."""
    shape, colour = seed % 20, [(200, 30, 30), (30, 150, 30), (30, 30, 220), (200, 180, 20), (150, 40, 160)][seed // 20 % 5]
    drawn = np.random.default_rng(shape).random((8, 8)) > 0.6
    picture = np.full((side, side, 3), 255, np.uint8)
    picture[np.kron(drawn, np.ones((4, 4), bool))] = colour
    return picture


def lines(data, method="simclr", settings=None, size=None):
    data, kind = open_data(data), find_method(method)
    return " ".join(TakenAway.of(data, "x", kind, settings, size).lines(kind, "pixels", settings))


@pytest.mark.parametrize(("make", "told"), [(page, True), (blobs, False)])
def test_it_speaks_of_mirrored_letters_and_not_of_spots(make, told):
    assert ("mirrored" in lines(np.stack([make(seed) for seed in range(300)]))) == told


def test_it_speaks_of_shapes_in_several_colours_unless_the_views_keep_colours():
    pictures = np.stack([signs(seed) for seed in range(200)])
    assert "views.jitter=0, views.grey=0" in lines(pictures)
    assert "colour" not in lines(pictures, "mae") and "colour" not in lines(pictures, settings={"views.jitter": 0})
    mixed = np.random.default_rng(0).integers(0, 256, (200, 32, 32, 3), dtype=np.uint8)
    assert "colour" not in lines(mixed)


def test_it_names_the_size_that_shows_small_things(tmp_path):
    for seed in range(80):
        Image.fromarray(page(seed, side=400)).save(tmp_path / f"{seed}.png")
        Image.fromarray(blobs(seed)).resize((400, 400)).save(tmp_path / f"blobs{seed}.png")
    small = lines(tmp_path / "[0-9]*.png", size=96)
    size = int(small.partition("--size ")[2].split()[0])
    assert "at 96 pixels" in small and 96 < size < 400
    assert "pixels" not in lines(tmp_path / "[0-9]*.png", size=size) and "pixels" not in lines(tmp_path / "blobs*.png", size=32)


@pytest.mark.parametrize(
    ("name", "words"),
    [("MNIST", ("mirrored",)), ("emoji", ("colour",)), ("tiny-imagenet-20", ()), ("bccd/images", ("mirrored",))],
)
def test_it_speaks_of_digits_and_signs_and_not_of_photographs(data_root, name, words):
    if not (data_root / name).exists():
        pytest.skip(f"{name} is not at {data_root}")
    said = lines(data_root / name)
    assert {word for word in ("mirrored", "colour", "pixels") if word in said} == set(words)


def test_inspect_and_pretrain_say_so_and_advise_without_mirroring(tmp_path, command, monkeypatch):
    monkeypatch.setattr("leaven.api.pretrain.SHORT_STEPS", 1)
    for seed in range(120):
        (tmp_path / "pages").mkdir(exist_ok=True)
        Image.fromarray(page(seed)).save(tmp_path / "pages" / f"{seed}.png")
    status, out, _ = command("inspect", tmp_path / "pages", "--json")
    found = json.loads(out)
    assert status == 0 and found["mirrored"] > 0.6 and any("views.flip=0" in line for line in found["advice"]["cautions"])
    said = []
    leaven.pretrain(tmp_path / "pages", out=tmp_path / "run", steps=1, batch=8, device="cpu", report=False, say=said.append)
    assert any("views.flip=0" in line for line in said)
    said.clear()
    settings = {"views.flip": 0}
    leaven.pretrain(tmp_path / "pages", out=tmp_path / "off", steps=1, batch=8, device="cpu", report=False, say=said.append, settings=settings)
    assert not any("views.flip" in line for line in said)
