"""Folders of numbered pictures as signals: what a run is, what its samples hold, and the methods that read them."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

import leaven
from leaven.data import open_data
from leaven.errors import UserError

MISSING, STEP, COUNT = 190, 10, 40
SMALL = {"encoder.width": 16, "encoder.depth": 1, "encoder.heads": 2}


def shade(place, number):
    """Of the frame with this number: it says which one it is."""
    return (number // STEP * 4 + (100 if place == "winter" else 0)) % 256


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two folders of frames 10 to 400, 10 apart; 190 is missing, and every frame from 310 on is for the test."""
    root, lines = tmp_path_factory.mktemp("frames"), ["file,season,frame,split"]
    for place in ("summer", "winter"):
        (root / place).mkdir()
        for number in range(STEP, STEP * COUNT + 1, STEP):
            if number != MISSING:
                pixels = np.full((16, 32), shade(place, number), np.uint8)
                pixels[:, 16:] = 255 - pixels[:, 16:]
                Image.fromarray(pixels).save(root / place / f"{number:05}.png")
                lines.append(f"{place}/{number:05}.png,{place},{number},{'test' if number > 300 else 'train'}")
    (root / "frames.csv").write_text("\n".join(lines))
    return root


def numbers_of(sample, place):
    """Which frames a sample shows, by the shade of their left half."""
    shades = (255 * sample[0]).round().long().tolist()
    known = {shade(place, number): number for number in range(STEP, STEP * COUNT + 1, STEP)}
    return [known[each] for each in shades]


def test_samples_are_consecutive_frames_of_one_folder_one_split_and_no_gap(folder):
    data = open_data(folder, labels="season", reading={"frames": 6, "hop": 2, "side": 8})
    value, seen = data.rows["x"][torch.arange(len(data))], set()
    assert value.samples.shape[1:] == (8 * 16, 6)  # shrunk as it is, and not cut
    for row, sample in enumerate(value.samples):
        place, first = re.fullmatch(r"(\w+)/(\d+)\.png", data.files[row]).groups()
        numbers = numbers_of(sample, place)
        assert numbers == list(range(int(first), int(first) + 60, STEP))
        assert not numbers[0] < MISSING < numbers[-1]
        assert (numbers[0] > 300) == (numbers[-1] > 300) == (row in data.splits["test"].tolist())
        assert data.spec.class_names[data.labels[row]] == place
        assert torch.allclose(sample[0] + sample[-1], torch.ones(6), atol=1e-6)  # the other half
        seen |= {(place, number) for number in numbers}
    per_run = [(18 - 6) // 2 + 1, (11 - 6) // 2 + 1, (10 - 6) // 2 + 1]
    assert len(data) == 2 * sum(per_run)
    assert any("6 runs, " in note and "10 apart" in note and "2 gaps" in note for note in data.notes)
    assert len(data.rows.group.unique()) == 6  # windows of one run stay together


def test_a_column_that_changes_within_a_run_is_no_label_of_it(folder):
    data = open_data(folder, labels="frame", reading={"frames": 6})
    assert not (data.labels >= 0).any()


def test_a_broken_frame_is_named_and_the_other_runs_are_read(folder, tmp_path):
    for number in (*range(1, 7), *range(8, 14)):
        (tmp_path / f"{number}.png").write_bytes((folder / "summer" / "00010.png").read_bytes() if number != 3 else b"no picture")
    data = open_data(tmp_path, reading={"frames": 3})
    assert len(data) == 2
    assert [broken.file for broken in data.broken] == ["1.png"]
    assert "3.png" in data.broken[0].why


def test_what_is_no_sequence_is_refused(folder, tmp_path):
    (tmp_path / "a.csv").write_text("text\none\ntwo\n")
    with pytest.raises(UserError, match="no pictures here that could be frames"):
        open_data(tmp_path / "a.csv", reading={"frames": 4})
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes((folder / "summer" / "00010.png").read_bytes())
    with pytest.raises(UserError, match="no two pictures here are numbered frames"):
        open_data(tmp_path, reading={"frames": 4})
    with pytest.raises(UserError, match="frames"):
        open_data(folder, reading={"frames": 1})


@pytest.mark.parametrize(
    ("method", "settings"),
    [*(("masked_prediction", {"mask": mask}) for mask in ("spans", "future", "recent", "past")), ("cpc", {"ahead": (1, 2)}), ("apc", {"ahead": 1})],
    ids=["spans", "future", "recent", "past", "cpc", "apc"],
)
def test_methods_that_predict_moments_read_frames(folder, tmp_path, method, settings):
    settings = {"frames": 6, "hop": 2, "side": 4, **SMALL, **settings}
    run = leaven.pretrain(folder, method=method, steps=2, batch=8, out=tmp_path / "run", settings=settings, report=False)
    vectors = leaven.embed(run, folder)  # the run knows how its data was read
    assert vectors.shape == (len(open_data(folder, reading={"frames": 6, "hop": 2})), 16)
    assert np.isfinite(vectors).all()
