"""Pairs that go wrong: each is counted, named and explained in a line, and no caption is dropped in silence."""

import numpy as np
import pytest
from PIL import Image

import leaven
from leaven.data import open_data
from leaven.errors import TrainingStopped, UserError

SMALL = {"encoder.image.width": 4, "encoder.image.features": 8, "encoder.text.width": 8, "encoder.text.depth": 1, "tokenizer.vocabulary": 300}
CAPTIONS = [f"a picture of number {number}" for number in range(12)]


@pytest.fixture
def table(tmp_path):
    """Writes captions (None: the picture is missing) of the same twelve pictures into a table."""
    random = np.random.default_rng(0)
    for number in range(12):
        Image.fromarray(random.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")

    def write(captions, missing=()):
        rows = [f"{'gone' if number in missing else number}.png,{caption}" for number, caption in enumerate(captions)]
        (tmp_path / "pairs.csv").write_text("\n".join(["file,name", *rows]) + "\n")
        return tmp_path / "pairs.csv"

    return write


def told(data, tmp_path, columns="image=file,text=name", method="clip", settings=SMALL):
    lines = []
    roles = dict(pair.split("=") for pair in columns.split(","))
    leaven.pretrain(data, method=method, columns=roles, steps=1, settings=settings, out=tmp_path / "run", report=False, say=lines.append)
    return "\n".join(lines)


def test_missing_pictures_and_empty_captions_are_counted_and_named(table, tmp_path):
    data = table([*CAPTIONS[:9], "", "  ", CAPTIONS[11]], missing=(2,))
    lines = told(data, tmp_path)
    assert "9 samples" in lines and "3 broken set aside; the first: gone.png (image: No such file or directory)" in lines
    broken = leaven.inspect(data, columns={"image": "file", "text": "name"}).to_dict()["broken"]
    assert [entry["why"] for entry in broken] == ["image: No such file or directory", "text: empty", "text: empty"]


def test_captions_longer_than_what_is_read_are_counted(table, tmp_path):
    lines = told(table([" ".join(CAPTIONS), *CAPTIONS[1:]]), tmp_path, settings={**SMALL, "tokenizer.text.max_length": 24})
    assert "long texts: 1 of 12 samples (their text is cut after 24 tokens; --set tokenizer.text.max_length=N reads more)" in lines
    assert "long texts" not in told(table(CAPTIONS), tmp_path / "short")


def test_one_caption_for_all_stops_and_few_captions_are_a_verdict(table, tmp_path):
    with pytest.raises(TrainingStopped, match=r"all 12 samples looked at are the same \(text\)"):
        told(table(["a picture"] * 12), tmp_path)
    rows = ["a cat"] * 10 + ["a dog"] * 2
    run = leaven.pretrain(
        table(rows), method="clip", columns={"image": "file", "text": "name"}, steps=40, settings=SMALL, out=tmp_path / "few", report=False,
        keep_going=True,
    )  # fmt: skip
    assert "repeated content" in [verdict["verdict"] for verdict in run.health]


def test_swapped_columns_and_captions_of_numbers_are_asked_about(table, tmp_path):
    swapped = open_data(table(CAPTIONS), columns={"image": "name", "text": "file"})
    hint = "does --columns name the right columns?"
    assert swapped.notes == (f"the input image holds texts, not pictures: {hint}", f"the input text holds pictures, not texts: {hint}")
    numbers = open_data(table([str(7 * number) for number in range(12)]), columns={"image": "file", "text": "name"})
    assert f"the input text holds vectors, not texts: {hint}" in numbers.notes
    assert not [note for note in open_data(table(CAPTIONS), columns={"image": "file", "text": "name"}).notes if hint in note]
    with pytest.raises(UserError, match="coca writes texts about its other input, and neither image nor text is text"):
        told(table([str(7 * number) for number in range(12)]), tmp_path, method="coca", settings={})


def test_inputs_of_different_lengths_are_refused():
    with pytest.raises(UserError, match="lengths differ: image 6, text 5"):
        leaven.pretrain({"image": np.zeros((6, 8, 8, 3), np.uint8), "text": CAPTIONS[:5]}, method="clip", steps=1)
