"""Samples that follow each other in time are noticed by measuring, and scored by contiguous parts of their order."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn import datasets

import leaven
from leaven.data import open_data
from leaven.data.order import beside, in_order, parts_of
from leaven.errors import UserError
from leaven.training.supervision import supervision


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("LEAVEN_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("LEAVEN_DATA", raising=False)


def drift(count: int = 1200, columns: int = 12, run: int = 30, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a recording that drifts, and labels by blocks that have nothing to do with it."""
    random = np.random.default_rng(seed)
    label = np.repeat(random.permutation(np.arange(count // run) % 2), run)
    walk = (random.normal(size=(count, columns)) * 0.3).cumsum(0)
    return (walk + 0.5 * random.normal(size=(count, columns))).astype(np.float32), label


def write_csv(path, x, label=None, column="state"):
    with open(path, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([*(f"c{number}" for number in range(x.shape[1])), *([] if label is None else [column])])
        writer.writerows([[*(f"{value:.4f}" for value in row), *([] if label is None else [label[place]])] for place, row in enumerate(x)])
    return path


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A csv of rows with a column of labels, and a run that was trained on it."""
    folder = tmp_path_factory.mktemp("recording")
    x, label = drift()
    source, said = write_csv(folder / "rows.csv", x, np.where(label, "open", "closed")), []
    run = leaven.pretrain(source, out=folder / "run", steps=5, labels="state", report=False, say=said.append)
    return source, run, said


def test_a_recording_is_scored_by_contiguous_parts_with_what_a_random_split_would_show_beside_it(recording, command):
    source, run, said = recording
    assert any("the samples follow each other (by the order of the rows; neighbours explain 9" in line for line in said)
    status, out, _ = command("evaluate", run.path, source, "--labels", "state", "--protocol", "knn,linear", "--json")
    assert status == 0
    card = json.loads(out)
    for protocol in ("knn", "linear"):
        assert card["random_split"][protocol]["accuracy"] > 0.85 > 0.75 > card["scores"][protocol]["accuracy"]
    assert "held-out parts of the order" in card["data"] and "by a random split" in (run.path / "report.html").read_text()
    shown = f"{100 * card['random_split']['linear']['accuracy']:.1f} % instead of {100 * card['scores']['linear']['accuracy']:.1f} % (linear probe)"
    assert f"A random split would show {shown}" in card["sentence"]
    assert any("whole parts of the order were held out" in note and "--set split=random" in note for note in card["notes"])


def test_the_user_may_split_at_random_all_the_same(recording, command):
    source, run, _ = recording
    words = "evaluate", run.path, source, "--labels", "state", "--protocol", "knn", "--json", "--set"
    status, out, _ = command(*words, "split=random")
    card = json.loads(out)
    assert status == 0 and card["scores"]["knn"]["accuracy"] > 0.85
    assert card["random_split"] == {} and "held-out fifth" in card["data"]
    status, _, err = command(*words, "split=sideways")
    assert status == 2 and "split cannot be 'sideways'" in err


def test_finetune_keeps_the_labels_back_that_evaluate_tests_on(recording):
    source, _, _ = recording
    data = open_data(source, labels="state")
    train, test, name, _ = data.held_out()
    used = supervision(data.with_role("x", "x"), early_stopping=True)
    assert name == "held-out parts of the order" and not set(used.members.tolist()) & set(test.tolist())
    assert set(torch.cat([used.members, used.held_out]).tolist()) == set(train.tolist())
    groups = data.groups
    assert not set(groups[used.members].tolist()) & set(groups[used.held_out].tolist())


def test_held_out_parts_are_whole_and_what_lies_beside_them_is_left_out(recording):
    data = open_data(recording[0], labels="state")
    train, test, _, _ = data.held_out()
    assert 0.1 < len(test) / len(data) < 0.3 and len(train) > 0.6 * len(data)
    assert not set(data.groups[train].tolist()) & set(data.groups[test].tolist())
    apart = (train[:, None] - test[None]).abs().min()
    assert apart == data.order.gap + 1 > 2
    assert set(data.labels[test].tolist()) == set(data.labels[train].tolist()) == {0, 1}


def test_inspect_says_that_rows_follow_each_other(recording):
    inspection = leaven.inspect(recording[0], labels="state", steps=1)
    assert inspection.order["by"] == "the order of the rows" and inspection.order["explained"] > 0.9
    assert any("`leaven evaluate` holds out contiguous parts" in line for line in inspection.advice["cautions"])


def test_each_class_in_one_stretch_is_said():
    x, _ = drift()
    data = open_data((x, np.repeat([0, 1], 600)))
    train, test, _, note = data.held_out()
    assert "time alone may tell the classes apart" in note
    assert set(data.labels[test].tolist()) == set(data.labels[train].tolist()) == {0, 1}


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits"])
@pytest.mark.parametrize("order", ["as it is", "by class", "shuffled"])
def test_rows_of_a_table_are_taken_for_no_recording(name, order):
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    places = {"as it is": np.arange(len(y)), "by class": y.argsort(kind="stable"), "shuffled": np.random.default_rng(0).permutation(len(y))}[order]
    data = open_data((x[places].astype(np.float32), y[places]))
    assert data.order is None and data.held_out()[2] == "held-out fifth"


def test_what_is_merely_sorted_is_taken_for_no_recording():
    random = np.random.default_rng(0)
    hidden = (3 * random.normal(size=(10, 8)))[np.sort(random.integers(0, 10, 2000))] + random.normal(size=(2000, 8))
    table = random.normal(size=(2000, 8))
    table[:, 1] += 2 * table[:, 0]
    assert open_data(hidden.astype(np.float32)).order is None, "by a class that is not known"
    assert open_data(table[table[:, 0].argsort()].astype(np.float32)).order is None, "by a column"
    x, label = drift()
    shuffled = random.permutation(len(x))
    assert open_data((x[shuffled], label[shuffled])).order is None


def test_folders_of_alike_files_and_small_classes_are_no_recording(tmp_path):
    random = np.random.default_rng(0)
    for folder in range(8):
        colour = random.integers(0, 200, 3)
        (tmp_path / str(folder)).mkdir()
        for number in range(30):
            pixels = (colour + random.integers(0, 50, (8, 8, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / str(folder) / f"{number}.png")
    pictures = open_data(tmp_path)
    assert pictures.order is None and pictures.with_labels(random.integers(0, 2, 240).tolist()).order is None
    centers = 5 * random.normal(size=(200, 6)).repeat(3, 0)
    assert open_data(((centers + random.normal(size=(600, 6))).astype(np.float32), np.arange(200).repeat(3))).order is None, "three of each class"


def test_texts_without_words_have_no_order():
    assert open_data(["!?", "...", "?!"] * 40).order is None


def test_walks_and_slow_sensors_are_noticed_without_labels():
    random, time = np.random.default_rng(0), np.arange(1500) / 144 * 2 * np.pi
    assert open_data(random.normal(size=(1500, 4)).cumsum(0).astype(np.float32)).order is not None
    sensors = np.stack([20 + 5 * np.sin(time), 50 + 10 * np.cos(time), np.cumsum(random.normal(size=1500))], 1)
    assert open_data((sensors + random.normal(size=sensors.shape) * 0.5).astype(np.float32)).order is not None


def test_a_split_or_groups_of_the_source_decide_alone():
    x, label = drift()
    grouped = open_data({"x": x, "label": label, "group": np.arange(1200) // 100})
    assert grouped.order is None and torch.equal(grouped.groups, grouped.rows.group)
    assert open_data((x, label)).order is not None


def test_contiguous_parts_are_held_out_where_the_user_asks_for_them(tmp_path):
    x = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    data = open_data(write_csv(tmp_path / "rows.csv", x), reading={"split": "contiguous"})
    train, test, name, _ = data.held_out()
    assert name == "held-out parts of the order" and len(train) and (test.diff() > 1).sum() < 5
    with pytest.raises(UserError, match="too short"):
        open_data(x[:2], reading={"split": "contiguous"}).held_out()


def test_frames_follow_each_other_by_the_numbers_in_their_names(tmp_path):
    random = np.random.default_rng(0)
    scene = random.integers(0, 256, (2, 50, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    for number in range(120):  # 10 follows 9, which it does not in the order of letters
        for film, start in (("a", 0), ("b", 150)):
            (tmp_path / film).mkdir(exist_ok=True)
            Image.fromarray(scene[:, start + number : start + number + 16]).save(tmp_path / film / f"frame{number}.png")
    order = open_data(tmp_path).order
    assert order.by == "the numbers in their names" and order.explained > 0.5
    assert [open_data(tmp_path).files[row] for row in order.rows[:12].tolist()] == [f"a/frame{number}.png" for number in range(12)]


def test_files_lie_in_series_by_their_last_numbers():
    places, series = in_order(["b_2.png", "a_10.png", "a_9.png", "b_1.png", "c.png"])
    assert places.tolist() == [2, 1, 3, 0, 4] and series.tolist() == [0, 0, 1, 1, 2]
    assert in_order(["", "", ""])[0].tolist() == [0, 1, 2]


def test_parts_are_stretches_of_one_class_and_short_ones_are_joined():
    series = np.zeros(300, np.int64)
    stretches = parts_of(series, np.repeat(np.arange(10) % 2, 30))
    assert np.array_equal(stretches, np.repeat(np.arange(10), 30)), "five stretches of each class are enough"
    assert np.array_equal(np.bincount(parts_of(series, np.zeros(300, np.int64))), [30] * 10), "one stretch is cut"
    alternating = parts_of(series, np.arange(300) % 2)
    assert 5 <= alternating.max() + 1 <= 60 and (np.diff(alternating) >= 0).all()
    videos = np.repeat(np.arange(20), 15)
    assert np.array_equal(parts_of(videos, np.zeros(300, np.int64)), videos), "files of one folder stay together"


def test_a_gap_ends_with_its_series():
    held = np.array([False, True, False, False, False, False])
    assert beside(held, np.array([0, 0, 0, 0, 0, 0]), 2).tolist() == [False, True, True, True, False, False]
    assert beside(held, np.array([0, 0, 1, 1, 1, 1]), 2).tolist() == [False, True, False, False, False, False]


# --- real data ---


@pytest.mark.parametrize("name", ["emoji/png", "bonn-eeg/bonn-eeg.npz", "trec6/test.csv", "tabular/ionosphere.csv", "tiny-imagenet-20/val", "MNIST"])
def test_real_data_that_is_no_recording(name, data_root):
    data = open_data(str(data_root / name))
    rows = data.splits.get("test", torch.arange(len(data)))
    assert data.subset(rows[:3000]).with_labels(data.labels[rows[:3000]].tolist()).order is None


@pytest.mark.parametrize("name", ["nordland/summer", "camvid-240/val/images"])
def test_real_frames_are_noticed(name, data_root):
    assert open_data(str(data_root / name)).order.by == "the numbers in their names"


def test_real_rows_of_eeg_are_noticed(data_root):
    """Samples and short windows of a Muse headband, with a label by blocks of four seconds."""
    x = np.load(data_root / "muse-p300" / "sub-1_ses-1_run-01.npz")["x"][:20480, :4]
    for width in (1, 16, 64):
        rows = x.reshape(-1, width * 4)
        blocks = np.arange(len(rows)) * width // 1024 % 2
        assert open_data((rows, blocks)).order is not None, f"windows of {width}"


def drifting_recording(path, seconds, blocks, seed=0):
    """Noise whose loudness and offset drift slowly in 8 channels, and blocks of two classes in time that have nothing to do with it."""
    random, rate = np.random.default_rng(seed), 16
    periods, phases = 0.4 * seconds * (0.7 + random.random((16, 1))), random.random((16, 1))
    walk = np.sin(2 * np.pi * (np.arange(seconds * rate) / rate / periods + phases))
    x = random.normal(size=(8, seconds * rate)) * np.exp(walk[:8]) + 3 * walk[8:]
    label = random.permutation(np.arange(blocks) % 2)[np.arange(seconds * rate) * blocks // (seconds * rate)]
    np.savez(path, data=x.astype(np.float32), fs=rate, y=1 + label)


WINDOWS = {"windows": "all", "window": "1s", "hop": "0.25s"}


@pytest.mark.parametrize(
    ("recordings", "kept", "parts"), [(1, "all of one recording", "held-out parts of the order"), (6, "groups kept whole (1 of 6)", "held-out fifth")]
)
def test_overlapping_windows_of_a_drifting_recording_show_what_a_random_split_hides(tmp_path, command, recordings, kept, parts):
    for number in range(recordings):
        drifting_recording(tmp_path / f"night{number}.npz", 240 // recordings, blocks=12 if recordings == 1 else 4, seed=number)
    run = leaven.pretrain(tmp_path, method="autoencoder", out=tmp_path / "run", steps=2, batch=32, settings=WINDOWS, report=False)
    status, out, _ = command("evaluate", run.path, tmp_path, "--protocol", "knn", "--json")
    card = json.loads(out)
    assert status == 0 and parts in card["data"]
    shown, honest = card["random_split"]["knn"]["accuracy"], card["scores"]["knn"]
    assert shown > 0.75 > 0.65 > honest["accuracy"] and honest["interval"][0] < 0.5
    assert f"A random split would show {100 * shown:.1f} %" in card["sentence"] and "neighbours, or others of their group" in card["sentence"]
    assert any(kept in note for note in card["notes"])


def test_no_moment_of_a_held_out_window_is_learned(tmp_path):
    drifting_recording(tmp_path / "night.npz", 30, blocks=6)
    data = open_data(tmp_path / "night.npz", reading={"windows": "all", "window": "2s", "hop": "0.125s"})
    train, test, _, note = data.held_out()
    begins = torch.tensor([float(name.rpartition("#")[2].removesuffix("s")) for name in data.files])
    assert (begins[train][:, None] - begins[test][None]).abs().min() >= 2 and len(train) and "--set split=random" in note
    assert open_data(tmp_path / "night.npz", reading={**WINDOWS, "split": "random"}).held_out()[2] == "held-out fifth"
