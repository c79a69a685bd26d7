"""Whether mirrored pictures can be told from originals."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

import leaven
from leaven.data import open_data
from leaven.inspection.chirality import mirrored_accuracy, mirrored_line


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


@pytest.mark.parametrize(("make", "told"), [(page, True), (blobs, False)])
def test_it_speaks_of_letters_and_not_of_spots(make, told):
    data = open_data(np.stack([make(seed) for seed in range(300)]))
    assert bool(mirrored_line(mirrored_accuracy(data, "x"))) == told


@pytest.mark.parametrize(("name", "told"), [("MNIST", True), ("tiny-imagenet-20", False)])
def test_it_speaks_of_digits_and_not_of_photographs(data_root, name, told):
    if not (data_root / name).exists():
        pytest.skip(f"{name} is not at {data_root}")
    assert bool(mirrored_line(mirrored_accuracy(open_data(data_root / name), "x"))) == told


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
