"""Generated samples beside real ones, as data that every command reads."""

import json

import numpy as np
import pytest
import torch

import leaven
from leaven.data import open_data
from leaven.errors import UserError
from leaven.evaluation.augmentation import Labeled, gain_of_generated, told_apart, verdict

RATE = 64


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEAVEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def rhythms(folder):
    """90 signals of three rhythms and three persons in a file."""
    random, label = np.random.default_rng(0), np.arange(90) % 3
    phase = random.random((90, 2, 1))
    cycles = np.array([3, 6, 12])[label][:, None, None] * np.arange(3 * RATE) / RATE
    x = np.sin(2 * np.pi * (cycles + phase)) + 0.5 * random.normal(size=(90, 2, 3 * RATE))
    names = np.array(["slow", "middle", "fast"])[label]
    np.savez(folder / "rhythms.npz", x=x.astype(np.float32), rate=RATE, y=names, group=np.repeat(["a", "b", "c", "d", "e"], 18))
    return folder / "rhythms.npz"


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """The band powers of these signals as data, and a generator of them."""
    folder = tmp_path_factory.mktemp("features")
    leaven.embed("input", rhythms(folder), out=folder / "features.npz")
    settings = {"conditional": True, "width": 16, "recipe.lr": 1e-3}
    leaven.pretrain(folder / "features.npz", method="wgan_gp", settings=settings, steps=60, out=folder / "gan", report=False)
    return folder


def test_the_raw_input_of_signals_becomes_data_with_labels_groups_and_a_split(features):
    data, signals = open_data(features / "features.npz"), open_data(features / "rhythms.npz")
    powers = signals.rows["x"]
    raw = open_data(features / "rhythms.npz").rows["x"]
    assert data.spec.class_names == ("fast", "middle", "slow") and data.rows["x"].numbers.shape == (90, 2 * 4)
    assert len(data.groups.unique()) == 5 and torch.equal(data.labels, signals.labels) and len(powers) == len(raw)
    assert torch.equal(data.splits["test"], signals.held_out()[1]) and set(data.splits) == {"train", "test"}
    run = leaven.embed("input", features / "rhythms.npz", out=features / "again.npz")
    assert run.shape == (90, 8) and (features / "again.npz").read_bytes() == (features / "features.npz").read_bytes()


def test_generated_samples_stand_beside_real_ones_in_the_train_split_alone(features, command):
    words = "augment", features / "features.npz", "--by", features / "gan", "--times", 4, "--select", 0.5
    status, out, _ = command(*words, "--out", features / "more", "--json")
    answer = json.loads(out)
    before, after = open_data(features / "features.npz"), open_data(features / "more")
    trained, generated = len(before.splits["train"]), answer["generated"]
    assert status == 0 and answer["real"] == trained and generated == answer["left_out"] == 2 * trained
    assert torch.equal(after.rows["x"].numbers[after.splits["test"]], before.rows["x"].numbers[before.splits["test"]])
    assert len(after.splits["train"]) == trained + generated and after.spec.class_names == before.spec.class_names
    assert torch.equal(after.labels[after.splits["train"]].bincount(), 3 * before.labels[before.splits["train"]].bincount())
    with np.load(features / "more" / "samples.npz") as arrays:
        assert arrays["generated"].sum() == generated and set(arrays["split"][arrays["generated"]]) == {"train"}
    page = (features / "more" / "report.html").read_text()
    assert "left out" in page and answer["sentence"].split(" %")[0] in page and not list(features.glob("*.partial"))
    command(*words, "--out", features / "same")
    assert (features / "same" / "samples.npz").read_bytes() == (features / "more" / "samples.npz").read_bytes()
    chosen = leaven.augment(features / "features.npz", features / "gan", out=features / "all", times=4)
    assert chosen.left_out == 0 and chosen.generated == 4 * trained


def test_pictures_become_folders_of_classes(tmp_path):
    run = leaven.pretrain("demo:digits", method="conditional_gan", steps=2, batch=16, settings={"width": 8}, out=tmp_path / "gan", report=False)
    augmented = leaven.augment("demo:digits", run, out=tmp_path / "more", times=1)
    before, after = open_data("demo:digits"), open_data(tmp_path / "more")
    assert after.spec.roles["x"].shape == before.spec.roles["x"].shape and after.spec.class_names == before.spec.class_names
    assert len(after.splits["train"]) == augmented.real + augmented.generated == 2 * augmented.real
    assert set(after.hashes[after.splits["test"]].tolist()) == set(before.hashes[before.splits["test"]].tolist())
    assert len(list((tmp_path / "more" / "train" / "3").glob("generated-*.png"))) == int((before.labels[before.train()] == 3).sum())


def test_signals_are_read_again_with_their_rate_channels_groups_and_splits(tmp_path):
    random, label = np.random.default_rng(0), np.arange(40) % 2
    about = {"channels": ["C3", "C4"], "group": np.arange(40) // 2, "split": np.array(["train"] * 30 + ["test"] * 10)}
    np.savez(tmp_path / "signals.npz", x=random.normal(size=(40, 2, 16)).astype(np.float32), rate=8, y=label, **about)
    settings = {"conditional": True, "width": 8}
    run = leaven.pretrain(tmp_path / "signals.npz", method="wgan_gp", settings=settings, steps=6, out=tmp_path / "gan", report=False)
    leaven.augment(tmp_path / "signals.npz", run, out=tmp_path / "more", times=2)
    before, after = open_data(tmp_path / "signals.npz"), open_data(tmp_path / "more")
    assert len(before.splits["test"]) == len(after.splits["test"]) == 10 and len(after.splits["train"]) == 30 * 3
    assert after.rows["x"].rate == 8 and after.rows["x"].reading["channels"] == ["C3", "C4"] and len(before.groups.unique()) == 20
    assert torch.equal(before.rows["x"][before.splits["test"]].samples, after.rows["x"][after.splits["test"]].samples)


def test_what_cannot_be_augmented_is_refused_in_one_line(features, tmp_path):
    data, run = features / "features.npz", features / "gan"
    with np.load(data) as arrays:
        np.savez(tmp_path / "whole.npz", x=arrays["x"], y=arrays["y"])
        np.savez(tmp_path / "other.npz", x=arrays["x"], y=arrays["y"], split=np.where(arrays["split"] == "test", "train", "test"))
    unconditional = leaven.pretrain(data, method="wgan_gp", settings={"width": 8}, steps=1, out=tmp_path / "plain", report=False)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    refused = [
        (tmp_path / "whole.npz", run, {}, "no test split"),
        (tmp_path / "other.npz", run, {}, "has learned from .* test samples"),
        (data, unconditional, {}, "makes no samples of a class"),
        (data, run, {"out": tmp_path / "full"}, "something here already"),
        (data, run, {"select": 0.0}, "above 0 and at most 1"),
    ]
    for source, by, options, why in refused:
        with pytest.raises(UserError, match=why):
            leaven.augment(source, by, **{"out": tmp_path / "new", **options})
    assert not (tmp_path / "new").exists() and not list(tmp_path.glob("*.partial"))


def test_raw_input_goes_into_an_archive_and_has_no_other_settings(features, tmp_path):
    with pytest.raises(UserError, match="written as an"):
        leaven.embed("input", features / "rhythms.npz", out=tmp_path / "vectors.npy")
    with pytest.raises(UserError, match="no setting width"):
        leaven.embed("input", features / "rhythms.npz", out=tmp_path / "vectors.npz", settings={"width": 3})
    windows = leaven.embed("input", features / "rhythms.npz", out=tmp_path / "windows.npz", settings={"window": "1s"})
    assert windows.shape[0] == 270


def test_samples_of_one_kind_are_told_apart_by_chance_and_others_are_not():
    draw = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 400, 3, generator=draw)
    assert 0.43 < told_apart(a, b) < 0.57
    assert told_apart(a, b + 10) == 1 and told_apart(a, a + 1e-6) == 0


def test_the_verdict_follows_the_interval():
    x, y = torch.randn(200, 2, generator=torch.Generator().manual_seed(1)), torch.arange(200) % 2
    apart = x + 4 * y[:, None]
    few, many, test = Labeled(apart[:4], y[:4]), Labeled(apart[4:100], y[4:100]), Labeled(apart[100:], y[100:])
    assert verdict(gain_of_generated(few, Labeled(apart[4:100], 1 - y[4:100]), test)).startswith("It makes things worse")
    assert verdict(gain_of_generated(many, many, test)).startswith("These test samples do not tell whether it helps")
    assert verdict(gain_of_generated(Labeled(few.x, 1 - few.y), many, test)).startswith("It helps")
