"""Folders of pictures as people have them."""

import os
import unicodedata

import numpy as np
import pytest
from PIL import Image

import leaven
from leaven.data import open_data


def picture(path, seed=0):
    path = os.fsencode(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(path, "PNG")


@pytest.fixture
def classes(tmp_path):
    for row in range(24):
        picture(tmp_path / ("cat" if row % 2 else "dog") / f"{row:02}.png", row)
    return tmp_path


def test_what_is_passed_over_is_counted_by_reason(classes):
    for name in (".DS_Store", "Thumbs.db", "cat/.hidden.png", "cat/notes.txt", "dog/scan.dcm", "dog/sound.wav"):
        (classes / name).write_text("x")
    (classes / "bird").mkdir()
    data = open_data(classes)
    assert len(data) == 24 and data.spec.class_names == ("cat", "dog") and not data.broken
    assert data.unused == (
        "1 text (cat/notes.txt)", "1 sound (dog/sound.wav)", "1 picture in a format that Leaven does not read (dog/scan.dcm)",
        "1 other file (Thumbs.db)", "2 hidden files", "1 empty folder (bird)",
    )  # fmt: skip


def test_few_files_deeper_in_the_folders_of_classes_belong_to_these_classes(classes):
    picture(classes / "cat" / "more" / "x.png", 99)
    data = open_data(classes)
    assert data.spec.class_names == ("cat", "dog") and data.spec.labeled == 25 and "cat/more/x.png" in " ".join(data.notes)


def test_nested_folders_say_how_they_become_classes(tmp_path):
    for row in range(24):
        picture(tmp_path / f"patient{row % 3}" / ("ill" if row % 2 else "well") / f"{row}.png", row)
    data = open_data(tmp_path)
    note = "--labels folder (patient0/ill, ...) makes 6 classes, --labels innermost (ill, ...) makes 2 classes, --labels outermost"
    assert data.spec.classes == 0 and note in " ".join(data.notes)
    assert open_data(tmp_path, labels="innermost").spec.class_names == ("ill", "well")
    assert open_data(tmp_path, labels="outermost").spec.class_names == ("patient0", "patient1", "patient2")
    assert open_data(tmp_path, labels="folder").spec.class_names[:2] == ("patient0/ill", "patient0/well")


def test_composed_and_decomposed_accents_are_one_class(classes):
    for row, form in enumerate(("NFC", "NFD")):
        picture(classes / unicodedata.normalize(form, "café") / f"{row}.png", 50 + row)
    assert open_data(classes).spec.class_names == ("café", "cat", "dog")


def test_names_that_are_not_utf8_pass_through_every_command(classes, tmp_path, command):
    picture(os.fsencode(classes) + b"/cat/caf\xe9.png", 77)
    data = open_data(classes)
    (row,) = (row for row, name in enumerate(data.files) if not name.isascii())
    run = leaven.pretrain(classes, out=tmp_path.with_name("run"), steps=1, batch=8, device="cpu", report=False)
    assert leaven.embed(run, classes, out=tmp_path.with_name("vectors.npy"), device="cpu").shape == (25, 512)
    tuned = leaven.finetune(run, classes, out=tmp_path.with_name("tuned"), steps=1, batch=8, device="cpu")
    csv = tmp_path.with_name("predicted.csv")
    status, _, error = command("predict", tuned.path, classes, "--out", csv)
    assert status == 0, error
    assert csv.read_text(encoding="utf-8").splitlines()[row + 1].startswith("cat/caf?.png,")
    status, out, error = command("search", run.path, classes, "--query", row, "--out", tmp_path.with_name("sheet.png"), "--device", "cpu")
    assert status == 0 and out, error
