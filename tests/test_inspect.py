"""What is said of a data set before training: copies exactly, contents, advice, and an estimate that comes from real steps."""

import io
import json
import math
import shlex
from contextlib import nullcontext
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import leaven
from leaven.data import DataSet, open_data
from leaven.data.batch import Batch
from leaven.errors import UserError
from leaven.inspection import copies, estimate, near
from leaven.inspection.advice import BUDGETS, choose_length, command, duration, training_time, written
from leaven.inspection.copies import exact_copies, near_copies, shared_with, split_overlap
from leaven.inspection.estimate import Pace, rehearse
from leaven.inspection.inspect import groups_of, labels_of
from leaven.inspection.near import Likeness, middles, natural_covariance, near_pairs, ordinary_bound, thumbnails
from leaven.inspection.originals import decoding_seconds, headers, originals
from leaven.modalities import Pixels
from leaven.modalities.decoding import Stored
from leaven.run import Run
from leaven.training.build import build_training
from leaven.training.health import Monitor
from leaven.training.loop import Training
from leaven.training.plan import Plan
from leaven.training.request import Request

SMALL = {"encoder.width": 8, "encoder.features": 16}
KEYS = {
    "data", "samples", "usable", "broken", "splits", "formats", "sizes", "channels", "labels", "groups", "duplicates", "near_duplicates",
    "thumbnails", "overlap", "mirrored", "colour_twins", "detail", "advice", "estimate", "unused", "notes", "order", "suspects",
}  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path_factory):
    """The fewest steps that a rehearsal takes, and a cache of its own."""
    monkeypatch.setattr(estimate, "REHEARSAL", 0.0)
    monkeypatch.setenv("LEAVEN_CACHE", str(tmp_path_factory.mktemp("cache")))


def scenes(count: int, side: int = 32, seed: int = 0, channels: int = 3) -> np.ndarray:
    """(count, side, side, channels) uint8: random pictures whose power falls with the square of the frequency, as that of natural ones does."""
    generator = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)) * side
    noise = np.fft.fft2(generator.normal(size=(count, channels, side, side))) / np.maximum(frequency, 1)
    pictures = np.fft.ifft2(noise).real
    pictures = (pictures - pictures.mean((1, 2, 3), keepdims=True)) / pictures.std((1, 2, 3), keepdims=True)
    return (128 + 40 * pictures).clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def through_jpeg(picture: np.ndarray, quality: int = 60) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def resampled(picture: np.ndarray, side: int) -> np.ndarray:
    small = Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(small.resize(picture.shape[1::-1], Image.Resampling.BICUBIC))


def data_of(pictures: np.ndarray, **options) -> DataSet:
    return open_data({"x": torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy()), **options})


def pairs_by_hand(a, b, alike):
    cosine = (F.normalize(a.double(), dim=1) @ F.normalize(b.double(), dim=1).T).numpy()
    return {(i, j) for i, j in np.argwhere(cosine >= alike).tolist()}


def folder_of(root, pictures, kind="PNG"):
    root.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(root / f"{number:03}.{kind.lower()}")
    return root


# --- near copies ---


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("count", [1, 7, 8, 50])
def test_all_near_pairs_are_found_block_by_block(count, kind, monkeypatch):
    monkeypatch.setattr(near, "BLOCK", 8)
    generator = torch.Generator().manual_seed(count)
    centres = torch.randn(12, 16, generator=generator)
    a = F.normalize(centres[torch.randint(12, (count,), generator=generator)] + 0.3 * torch.randn(count, 16, generator=generator), dim=1)
    b = F.normalize(centres[torch.randint(12, (30,), generator=generator)] + 0.3 * torch.randn(30, 16, generator=generator), dim=1)
    for other in (None, b):
        found = {pair for i, j, _ in near_pairs(a, other, alike=0.9, kind=kind) for pair in zip(i.tolist(), j.tolist(), strict=True)}
        wanted = pairs_by_hand(a, a if other is None else b, 0.9)
        assert found == ({(i, j) for i, j in wanted if i < j} if other is None else wanted)


def test_products_in_bf16_are_off_by_less_than_the_margin_allows():
    generator = torch.Generator().manual_seed(0)
    for dim in (8, 64, 256):
        a = F.normalize(torch.randn(400, dim, generator=generator), dim=1)
        b = F.normalize(a + 0.5 * torch.randn(400, dim, generator=generator) / math.sqrt(dim), dim=1)
        off = (a.bfloat16() @ b.bfloat16().T).float() - a @ b.T
        assert 0 < off.abs().max() < near.ROUNDING


def test_thumbnails_do_not_change_with_brightness_and_contrast_and_flat_ones_are_told():
    pictures = torch.from_numpy(scenes(6).transpose(0, 3, 1, 2).copy()).float() / 255
    pictures[5] = 0.4
    vectors, flat = thumbnails(Pixels(pictures), torch.arange(6))
    other, _ = thumbnails(Pixels(0.5 * pictures + 0.2), torch.arange(6))
    assert torch.allclose(vectors, other, atol=1e-5)
    assert flat.tolist() == [False] * 5 + [True] and not vectors[5].any()
    assert torch.allclose(vectors[:5].norm(dim=1), torch.ones(5)) and vectors.mean(1).abs().max() < 1e-6


def test_thumbnails_of_undivided_rows_equal_those_of_parts(monkeypatch):
    value = Pixels(torch.from_numpy(scenes(9).transpose(0, 3, 1, 2).copy()))
    whole = thumbnails(value, torch.arange(9))[0]
    monkeypatch.setattr(near, "VALUES", 1)
    assert torch.allclose(whole, thumbnails(value, torch.arange(9))[0], atol=1e-6)


def test_the_prior_gives_each_cosine_the_power_of_natural_pictures():
    covariance = natural_covariance(8).double()
    assert torch.allclose(covariance, covariance.T) and covariance.trace().item() == pytest.approx(1)
    place = torch.arange(8) + 0.5
    power = {(u, v): 1 / (u * u + v * v) for u in range(8) for v in range(8) if u or v}
    for u, v in [(0, 1), (3, 2), (7, 7)]:
        wave = torch.outer(torch.cos(math.pi / 8 * u * place), torch.cos(math.pi / 8 * v * place)).flatten().double()
        wave /= wave.norm()
        assert (wave @ covariance @ wave).item() == pytest.approx(power[u, v] / sum(power.values()), rel=1e-5)
    assert (covariance @ torch.ones(64, dtype=torch.double)).abs().max() < 1e-6


def test_whitened_thumbnails_of_many_pictures_vary_alike_in_all_directions():
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(40_000, 64, generator=generator) * torch.linspace(1, 3, 64)
    unit = F.normalize(raw, dim=1)
    likeness = Likeness.of(unit)
    variance = torch.linalg.eigvalsh((unit @ likeness.whitening).T @ (unit @ likeness.whitening) / len(unit))
    assert variance.max() / variance.min() < 2 < 5 < (unit.T @ unit).diagonal().max() / (unit.T @ unit).diagonal().min()


def test_the_bound_is_low_where_pictures_differ_in_many_ways_and_high_where_in_few():
    generator = torch.Generator().manual_seed(0)
    many = F.normalize(torch.randn(2000, 200, generator=generator), dim=1)
    assert ordinary_bound(many) == near.BOUNDS[0]
    few = F.normalize(torch.cat([torch.randn(2000, 3, generator=generator), torch.full((2000, 1), 3.0)], 1), dim=1)
    assert ordinary_bound(few) == near.BOUNDS[1]
    some = F.normalize(torch.randn(2000, 12, generator=generator), dim=1)
    assert near.BOUNDS[0] <= ordinary_bound(some) < near.BOUNDS[1]


def test_the_bound_is_what_chance_reaches_once_in_a_hundred_thousand():
    """On a sphere of 16 dimensions, whose neighbourhoods follow the law exactly, a bound for chance 1e-2 is passed by about that share."""
    generator = torch.Generator().manual_seed(0)
    points = F.normalize(torch.randn(4000, 17, generator=generator), dim=1)
    gaps = 1 - (points @ points.T).fill_diagonal_(-1).topk(12, dim=1).values
    share = (1e-2 / 11) ** (1 / 8)
    passed = (gaps[:, 0] < share * gaps[:, 11]).float().mean().item()
    assert 0.3e-2 < passed < 3e-2


def test_middles_leave_the_margins_out():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(1, 16, 16, generator=generator)
    b = a.clone()
    b[:, :2], b[:, -2:], b[:, :, :2], b[:, :, -2:] = 9, 9, 9, 9
    assert torch.allclose(middles(a.flatten(1)), middles(b.flatten(1)))
    assert middles(a.flatten(1)).shape == (1, 144)


@pytest.mark.parametrize(
    "change",
    [
        lambda picture: through_jpeg(picture),
        lambda picture: resampled(picture, 40),
        lambda picture: (0.6 * picture + 50).astype(np.uint8),
        lambda picture: np.pad(picture[1:], ((0, 1), (0, 0), (0, 0)), mode="edge"),
    ],
    ids=["jpeg", "resampled", "paler", "one pixel up"],
)
def test_changed_copies_are_found_and_no_others(change):
    pictures = scenes(300, 64)
    changed = np.stack([change(picture) for picture in pictures[:12]])
    found = near_copies(data_of(np.concatenate([pictures, changed])))
    assert sorted(sorted(each.rows) for each in found.sets) == [[row, 300 + row] for row in range(12)]
    assert found.compared == 312 and all(each.similarity >= found.alike for each in found.sets)


def test_pictures_in_the_same_frame_are_no_copies():
    pictures = scenes(300)
    pictures[:40, :3], pictures[:40, -3:], pictures[:40, :, :3], pictures[:40, :, -3:] = 255, 255, 255, 255
    assert not near_copies(data_of(pictures)).sets


def test_a_few_pictures_are_compared_as_well():
    pictures = scenes(3)
    found = near_copies(data_of(np.concatenate([pictures, through_jpeg(pictures[1])[None]])))
    assert [each.rows for each in found.sets] == [[1, 3]]
    assert not near_copies(data_of(pictures[:1])).sets


def test_sets_are_joined_alike_however_many_pairs_wait(monkeypatch):
    pictures = scenes(200)
    qualities = [np.stack([through_jpeg(picture, quality) for picture in pictures[:5]]) for quality in (90, 70, 50)]
    data = data_of(np.concatenate([pictures, *qualities]))
    whole = near_copies(data)
    monkeypatch.setattr(copies, "WAITING", 1)
    monkeypatch.setattr(near, "BLOCK", 16)
    assert near_copies(data).sets == whole.sets
    assert [sorted(each.rows) for each in whole.sets if 2 in each.rows] == [[2, 202, 207, 212]]


def test_the_first_two_of_a_set_are_its_most_alike():
    picture = scenes(200)
    data = data_of(np.concatenate([picture, through_jpeg(picture[0], 30)[None], through_jpeg(picture[0], 95)[None]]))
    (found,) = near_copies(data).sets
    assert found.rows == [0, 201, 200]


def test_equal_samples_are_sets_and_leave_the_search_for_near_ones():
    pictures = scenes(100)
    data = data_of(np.concatenate([pictures, pictures[[4, 9, 4]]]))
    assert [each.rows for each in exact_copies(data)] == [[4, 100, 102], [9, 101]]
    found = near_copies(data)
    assert found.compared == 100 and not found.sets


def test_copies_with_different_labels_say_so():
    pictures = scenes(60)
    data = data_of(np.concatenate([pictures, pictures[:2]]), label=["cat"] * 30 + ["dog"] * 30 + ["dog", "cat"])
    first, second = (each.to_dict(data) for each in exact_copies(data))
    assert first == {"rows": [0, 60], "files": ["#0", "#60"], "labels": ["cat", "dog"]}
    assert second == {"rows": [1, 61], "files": ["#1", "#61"]}


def test_overlap_between_splits_counts_equal_and_near_samples_once():
    pictures = scenes(120)
    copied = np.stack([pictures[0], through_jpeg(pictures[0]), through_jpeg(pictures[5]), pictures[7]])
    plain = data_of(np.concatenate([pictures, copied]))
    splits = {"train": torch.arange(100), "val": torch.arange(100, 120), "test": torch.arange(120, 124)}
    data = DataSet.of("split", plain.rows, splits=splits)
    found = {(each["of"], each["in"]): each for each in split_overlap(data, near_copies(data))}
    assert found["test", "train"] == {"of": "test", "samples": 4, "in": "train", "exact": 2, "near": 2}
    assert found["val", "train"]["exact"] == found["val", "train"]["near"] == 0
    assert set(found) == {("test", "train"), ("val", "train"), ("test", "val")}


def test_a_second_data_set_is_sought_in_the_first():
    pictures, others = scenes(150), scenes(40, seed=1)
    second = np.concatenate([others, pictures[[3]], through_jpeg(pictures[8])[None]])
    shared = shared_with(data_of(pictures), data_of(second))
    assert (shared["samples"], shared["exact"], shared["near"]) == (42, 1, 1)
    equal, near_copy = shared["pairs"]
    assert (equal["row"], equal["in_row"], equal["similarity"]) == (40, 3, None)
    assert (near_copy["row"], near_copy["in_row"]) == (41, 8) and near_copy["similarity"] > 0.7


def test_data_of_another_kind_cannot_overlap():
    vectors = open_data(torch.randn(20, 4))
    with pytest.raises(UserError, match="vector 4 and arrays holds pixels 3 x 32 x 32: they cannot overlap"):
        shared_with(data_of(scenes(20)), vectors)
    with pytest.raises(UserError, match="vector 5"):
        shared_with(vectors, open_data(torch.randn(20, 5)))


def test_near_copies_of_real_pictures_are_found_among_cifar10_and_hardly_any_among_digits(data_root, monkeypatch):
    monkeypatch.delenv("LEAVEN_CACHE")
    digits = open_data("demo:digits")
    assert sum(len(each.rows) for each in near_copies(digits).sets) <= 4
    data = open_data("cifar10", root=data_root)
    rows = torch.cat([data.splits["train"][:4000], data.splits["test"][:1000]])
    found = near_copies(data.subset(rows))
    assert found.alike == near.BOUNDS[0] and 1 <= len(found.sets) <= 60


# --- contents ---


def test_labels_are_counted_and_classes_that_are_never_trained_are_named():
    pictures = data_of(scenes(10))
    label = torch.tensor([0, 0, 0, 0, 0, 0, 1, -1, 2, -1])
    splits = {"train": torch.arange(8), "test": torch.arange(8, 10)}
    rows = Batch(pictures.rows.roles, label, torch.arange(10), torch.full((10,), -1))
    found = labels_of(DataSet.of("labels", rows, splits=splits, class_names=("cat", "dog", "eel", "fox")))
    assert found == {
        "classes": 4, "tags": 0, "labeled": 8, "counts": {"cat": 6, "dog": 1, "eel": 1, "fox": 0}, "imbalance": 6.0, "not_trained": ["eel"],
    }  # fmt: skip
    assert labels_of(pictures) == {"classes": 0, "tags": 0, "labeled": 0, "counts": {}, "imbalance": None, "not_trained": []}


def test_groups_are_counted_and_those_in_two_splits():
    pictures = data_of(scenes(10))
    group = torch.tensor([0, 0, 1, 1, 1, -1, 2, 2, 1, -1])
    rows = Batch(pictures.rows.roles, pictures.rows.label, torch.arange(10), group)
    data = DataSet.of("groups", rows, splits={"train": torch.arange(7), "test": torch.arange(7, 10)})
    assert groups_of(data) == {"groups": 3, "grouped": 8, "largest": 4, "across_splits": 2}
    assert groups_of(pictures) == {"groups": 0, "grouped": 0, "largest": 0, "across_splits": 0}


def test_headers_tell_formats_and_sizes(tmp_path):
    Image.fromarray(scenes(1, 40)[0]).save(tmp_path / "a.jpg")
    Image.fromarray(scenes(1, 60)[0][:30]).save(tmp_path / "b.png")
    Image.fromarray(scenes(1, 50)[0]).save(tmp_path / "c.png")
    (tmp_path / "gone.png").write_bytes(b"no picture")
    formats, sizes = headers(sorted(tmp_path.iterdir()))
    assert formats == {"PNG": 2, "JPEG": 1}
    assert sizes == {"read": 3, "width": {"min": 40, "median": 50, "max": 60}, "height": {"min": 30, "median": 40, "max": 50}}
    assert headers([]) == ({}, None)


def test_original_files_are_found_wherever_the_data_came_from(tmp_path):
    folder = folder_of(tmp_path / "root" / "named", scenes(5))
    for source, root in [
        (folder, None),
        (str(folder / "*.png"), None),
        ("named", tmp_path / "root"),
        ([str(path) for path in folder.iterdir()], None),
    ]:
        data = open_data(source, root=root)
        assert {path.name for path in originals(data)} == {f"{row:03}.png" for row in range(5)}
    (tmp_path / "list.csv").write_text("file\n" + "\n".join(f"root/named/{row:03}.png" for row in range(4)))
    assert len(originals(open_data(tmp_path / "list.csv"))) == 4
    table = pa.table({"img": [{"bytes": path.read_bytes(), "path": None} for path in sorted(folder.iterdir())]})
    pq.write_table(table, tmp_path / "train.parquet")
    parquet = open_data(tmp_path / "train.parquet")
    assert headers(originals(parquet))[0] == {"PNG": 5}
    saved = datasets.Dataset.from_dict({"image": [Image.open(path) for path in sorted(folder.iterdir())]})
    assert headers(originals(open_data(saved)))[0] == {"PNG": 5}
    arrays = scenes(5)
    assert originals(open_data(arrays)) == [] and originals(open_data("demo:digits")) == []


def test_decoding_time_grows_with_the_number_of_pictures(tmp_path):
    sources = originals(open_data(folder_of(tmp_path, scenes(8))))
    few, many = (decoding_seconds(sources, count, Stored(32, 3)) for count in (10, 100_000))
    assert 0 < few < many


# --- the estimate ---


def pace(**changes):
    given = {
        "method": "simclr", "encoder": "convnet", "batch": 100, "samples": 1000, "device": "cpu", "precision": "fp32", "step": 0.5, "look": 2.0,
        "memory": 10**9, "choices": (),
    }  # fmt: skip
    return Pace(**{**given, **changes})


def test_time_is_that_of_steps_and_looks():
    assert pace().seconds(8) == pytest.approx(8 * 0.5 + 1 * 2.0)
    assert pace().seconds(9) == pytest.approx(9 * 0.5 + 2 * 2.0)
    assert pace().seconds(2000) == pytest.approx(2000 * 0.5 + 25 * 2.0)
    assert pace().steps_of(2.55) == 26 and pace().steps_per_epoch == 10


@pytest.mark.parametrize("steps", [1, 7, 16, 160, 1600, 20_000])
def test_the_steps_that_fit_take_no_longer_than_there_is_time(steps):
    each = pace()
    seconds = each.seconds(steps)
    assert each.seconds(each.steps_in(seconds)) <= seconds * 1.02 or steps == 1
    assert each.steps_in(seconds) >= 0.85 * steps


def training(folder, steps, name="simclr", settings=SMALL):
    """A small training of the digits, not yet run."""
    data = open_data("demo:digits")
    parts = build_training(Request(name, steps=1, settings=settings), data, "cpu")
    return Training(parts.method, parts.recipe, data.rows, data.train(), Plan(steps, 32), Run(folder), Request(), nullcontext)


@pytest.mark.parametrize("steps", [1, 8, 30])
def test_a_training_looks_as_often_as_estimated(steps, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(Monitor, "look", lambda self, step, outputs: seen.append(step) or {})
    training(tmp_path, steps).run()
    assert pace(step=0.0, look=1.0).seconds(steps) == len([step for step in seen if step])


def test_a_rehearsal_does_real_steps_and_tells_what_was_chosen():
    found = rehearse(Request("simclr", batch=64, settings=SMALL), open_data("demo:digits"))
    assert (found.method, found.encoder, found.batch, found.samples) == ("simclr", "convnet", 64, 1197)
    assert found.step > 0 and found.look > 0 and (found.memory is None or found.memory > 10**8)
    assert {choice["what"] for choice in found.choices} >= {"encoder", "precision"}


@pytest.mark.parametrize(("method", "settings"), [("simclr", SMALL), ("deep_autoencoder", {"widths": (12, 4)})])
def test_a_rehearsal_changes_nothing_of_the_training_that_follows(method, settings, tmp_path):
    plain, rehearsed = (training(tmp_path / name, 3, method, settings) for name in ("plain", "rehearsed"))
    before = {name: value.clone() for name, value in rehearsed.method.state_dict().items()}
    assert rehearsed.rehearse(0.0) > 0 and (rehearsed.step, rehearsed.plan.steps) == (0, 3)
    assert all(torch.equal(value, before[name]) for name, value in rehearsed.method.state_dict().items())
    for each in (plain, rehearsed):
        each.run()
    losses = [[row["loss"] for row in each.folder.metrics] for each in (plain, rehearsed)]
    assert losses[0] == losses[1] and len(losses[0]) == 3


def test_stages_that_train_different_parts_are_rehearsed_one_by_one_and_weigh_as_much_as_they_last(tmp_path, monkeypatch):
    staged = training(tmp_path / "staged", 3, "deep_autoencoder", {"widths": (12, 4), "pretraining": 0.3})
    seconds = {0: 1.0, 1: 2.0, 2: 10.0}
    monkeypatch.setattr(Training, "_step_seconds", lambda self, stage, _: seconds[stage])
    assert staged.rehearse(0.0) == pytest.approx(0.15 * 1 + 0.15 * 2 + 0.7 * 10)
    alike = training(tmp_path / "alike", 3, "deepcluster", SMALL)
    assert len(alike.stages.all) > 1 and alike.rehearse(0.0) == pytest.approx(1.0)


# --- advice ---


def test_small_data_is_passed_over_more_often_and_large_data_no_less_than_twenty_times():
    assert choose_length(pace(samples=1000, step=0.01, look=0.0))[2].startswith("200 passes over 1,000")
    assert choose_length(pace(samples=10_000, step=0.01, look=0.0))[2].startswith("100 passes")
    assert choose_length(pace(samples=1_000_000, step=0.01, look=0.0))[2].startswith("20 passes")
    assert choose_length(pace(samples=1_000_000, device="cuda"))[:2] == ("epochs", 100)


@pytest.mark.parametrize("step", [0.001, 0.03, 0.4, 2.0])
def test_the_advised_budget_holds_the_passes_and_is_the_shortest_that_does(step):
    each = pace(samples=10_000, step=step, look=step)
    kind, advised, _ = choose_length(each)
    needed = each.seconds(each.steps_of(100))
    assert kind == "budget" and training_time(advised) >= needed
    assert all(training_time(budget) < needed for budget in BUDGETS.values() if budget < advised)


def test_the_command_can_be_pasted(monkeypatch):
    monkeypatch.delenv("LEAVEN_DATA", raising=False)
    given = {"data": "my pictures", "method": "mae", "encoder": None, "columns": {"x": "img"}, "settings": {"mask_ratio": "0.5"}, "data_root": None}
    assert command({**given, "budget": "10m"}) == "leaven pretrain 'my pictures' --method mae --columns x=img --set mask_ratio=0.5 --budget 10m"
    assert command({"data": np.zeros(3), "method": None, "epochs": 3}) == "leaven.pretrain(data, epochs=3)"
    assert command({"data": "cifar10", "data_root": Path("/some/data")}) == "leaven pretrain cifar10 --data-root /some/data"
    monkeypatch.setenv("LEAVEN_DATA", "/some/data")
    assert command({"data": "cifar10", "data_root": Path("/some/data")}) == "leaven pretrain cifar10"


def test_budgets_and_times_are_written_as_people_write_them():
    assert [written(seconds) for seconds in (600, 5400, 95.5, 7200)] == ["10m", "90m", "95.5s", "2h"]
    assert [duration(seconds) for seconds in (4, 44.4, 200, 900, 12_600)] == ["4.0 s", "44 s", "3.3 min", "15 min", "3.5 h"]


# --- end to end ---


@pytest.fixture
def messy(tmp_path):
    """A folder of two classes with a broken file, an equal and a near copy."""
    pictures = scenes(60, 40)
    root = tmp_path / "messy"
    for row, picture in enumerate(pictures):
        folder_of(root / ("cat" if row % 3 else "dog"), [])
        Image.fromarray(picture).save(root / ("cat" if row % 3 else "dog") / f"{row:02}.png")
    Image.fromarray(pictures[1]).save(root / "dog" / "equal.png")
    Image.fromarray(pictures[2]).save(root / "cat" / "near.jpg", quality=80)
    (root / "cat" / "broken.png").write_bytes(b"nothing")
    return root


def test_inspect_tells_programs_what_a_folder_holds(command, messy, tmp_path):
    status, out, err = command("inspect", messy, "--json", "--set", "encoder.width=8", "--sheet", tmp_path / "sheet.png")
    told = json.loads(out)
    assert status == 0 and set(told) == KEYS and "steps of training" in err
    assert (told["samples"], told["usable"]) == (63, 62)
    assert told["broken"] == [{"file": "cat/broken.png", "why": "not a picture that can be read"}]
    assert [(each["files"], each["labels"]) for each in told["duplicates"]] == [(["cat/01.png", "dog/equal.png"], ["cat", "dog"])]
    assert [sorted(each["files"]) for each in told["near_duplicates"]] == [["cat/02.png", "cat/near.jpg"]]
    assert told["formats"] == {"PNG": 61, "JPEG": 1} and told["sizes"]["width"] == {"min": 40, "median": 40, "max": 40}
    assert told["labels"]["counts"] == {"cat": 41, "dog": 21} and told["groups"]["groups"] == 0
    assert len(told["channels"]["x"]["mean"]) == 3 and told["splits"] == {"all": 62} and told["overlap"] == {"splits": [], "against": None}
    advice, estimated = told["advice"], told["estimate"]
    assert (advice["method"], advice["encoder"], advice["batch"], advice["size"]) == ("simclr", "convnet", 62, 40)
    assert estimated["seconds"] > 0 and estimated["seconds"] == pytest.approx(estimated["steps"] * 62 / estimated["samples_per_second"], rel=0.01)
    assert estimated["decoded"] and estimated["decoding_seconds"] > 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size[0] > 2 * 160


def test_the_advised_command_runs(command, messy, tmp_path):
    told = json.loads(command("inspect", messy, "--json", "--set", "encoder.width=8")[1])
    words = shlex.split(told["advice"]["command"])
    assert words[:3] == ["leaven", "pretrain", str(messy)] and words[-2:] == ["--budget", told["advice"]["budget"]]
    status, out, _ = command(*words[1:-2], "--steps", 1, "--out", tmp_path / "run", "--json")
    assert status == 0 and (json.loads(out)["method"], json.loads(out)["encoder"]) == (told["advice"]["method"], told["advice"]["encoder"])


def test_inspect_tells_people_on_one_screen_and_ends_with_the_next_command(command, messy):
    status, out, _ = command("inspect", messy, "--steps", 20, "--set", "encoder.width=8")
    lines = out.rstrip().splitlines()
    assert status == 0 and len(lines) <= 30 and max(map(len, lines[:-1])) <= 160
    assert lines[0] == "messy: 62 pictures, in colour, stored at 40 x 40"
    assert lines[-1] == f"Next: leaven pretrain {messy} --set encoder.width=8 --steps 20"
    assert any("cat/broken.png (not a picture that can be read)" in line for line in lines)
    assert any("copies with different labels (1 in all), such as cat/01.png: cat, dog/equal.png: dog" in line for line in lines)


def test_a_length_that_was_asked_for_is_estimated():
    found = leaven.inspect("demo:digits", epochs=2, batch=100, settings=SMALL)
    assert found.estimate["steps"] == 24 and found.advice["epochs"] == 2 and found.advice["budget"] is None
    found = leaven.inspect("demo:digits", method="rotation", budget="40s", batch=100, settings=SMALL)
    assert found.advice["method"] == "rotation" and found.advice["budget"] == "40s" and found.advice["command"].endswith("--budget 40s")
    assert found.estimate["seconds"] <= training_time(40) * 1.02


def test_a_second_data_set_is_inspected_against(command, tmp_path):
    pictures = scenes(40)
    first, second = folder_of(tmp_path / "first", pictures), folder_of(tmp_path / "second", scenes(20, seed=1))
    Image.fromarray(pictures[4]).save(second / "same.png")
    status, out, _ = command("inspect", first, "--against", second, "--set", "encoder.width=8", "--json", "--sheet", tmp_path / "both.png")
    against = json.loads(out)["overlap"]["against"]
    assert status == 0 and (against["data"], against["samples"], against["exact"], against["near"]) == ("second", 21, 1, 0)
    assert against["pairs"] == [{"row": 20, "file": "same.png", "in_row": 4, "in_file": "004.png", "similarity": None}]
    assert (tmp_path / "both.png").is_file()


def test_unlabeled_vectors_are_inspected():
    found = leaven.inspect(np.random.default_rng(0).normal(size=(80, 5)))
    assert found.near_duplicates is None and found.thumbnails is None and found.sizes is None
    assert (found.advice["method"], found.advice["encoder"], found.advice["size"]) == ("simclr", "mlp", None)
    assert found.advice["command"].startswith("leaven.pretrain(data, budget=") and "80 vectors of 5 numbers" in found.text()


def test_pairs_are_inspected_with_a_method_that_reads_both_roles(command, tmp_path):
    rows = [f"play song {number},pley sung {number}" for number in range(40)]
    (tmp_path / "pairs.csv").write_text("\n".join(["anchor,positive", *rows]))
    small = ("--set", "encoder.width=8", "--set", "encoder.depth=1", "--batch", 16)
    status, out, _ = command("inspect", tmp_path / "pairs.csv", "--json", *small)
    inspection = json.loads(out)
    assert status == 0 and inspection["advice"]["method"] == "supervised_simcse" and set(inspection["channels"]) == {"anchor", "positive"}
    words = shlex.split(inspection["advice"]["command"])
    assert words[2:5] == [str(tmp_path / "pairs.csv"), "--method", "supervised_simcse"]
    two = leaven.inspect({"a": np.eye(40, 4), "b": np.eye(40, 5)}, batch=16)
    assert two.advice["method"] == "clip" and "a: 40 vectors of 4 numbers; b: 40 vectors of 5 numbers" in two.text()


def test_roles_that_no_method_reads_leave_the_estimate_out_with_the_reason(monkeypatch):
    monkeypatch.setattr("leaven.inspection.advice.registry", dict)
    found = leaven.inspect({"a": np.eye(40, 4), "b": np.eye(40, 5)})
    assert found.estimate is None and "advice      none: no method reads the roles a, b" in found.text()
    assert found.text().endswith("Next: the same command with --method or --columns")
    with pytest.raises(UserError, match="needs the role 'x'"):
        leaven.inspect({"a": np.eye(40, 4), "b": np.eye(40, 5)}, method="simclr")


def test_what_a_source_holds_beyond_the_roles_in_use_is_a_line(tmp_path):
    folder_of(tmp_path, scenes(4))
    (tmp_path / "captions.csv").write_text("file,text\n")
    found = leaven.inspect(tmp_path)
    assert found.to_dict()["unused"] == ["1 table (captions.csv)"] and "unused      1 table (captions.csv)" in found.text()


def test_a_single_picture_is_told_of_but_not_trained_on(command, tmp_path):
    Image.fromarray(scenes(1)[0]).save(tmp_path / "one.png")
    status, out, _ = command("inspect", tmp_path / "one.png")
    assert status == 0 and "1 picture," in out and "advice      none: 1 sample to train on, and 8 are the least" in out
    assert leaven.inspect(tmp_path / "one.png").estimate is None


def test_one_class_and_samples_that_are_all_the_same_are_warned_of():
    same = np.repeat(scenes(1), 30, axis=0)
    found = leaven.inspect((same, ["cat"] * 30), settings=SMALL)
    assert any("all samples are the same" in line for line in found.advice["cautions"])
    assert any("all labels name one class (cat)" in line for line in found.advice["cautions"])


def test_imbalance_groups_and_leaks_are_warned_of():
    pictures = scenes(130)
    data = data_of(np.concatenate([pictures, pictures[:2]]), label=["cat"] * 125 + ["dog"] * 7, group=[0] * 132)
    splits = {"train": torch.arange(125), "test": torch.arange(125, 132)}
    found = leaven.inspect(DataSet.of("leaky", data.rows, splits=splits, class_names=("cat", "dog")), settings=SMALL)
    told = " | ".join(found.advice["cautions"])
    assert "cat has 18 times as many samples as dog" in told and "94.7 %" in told
    assert "2 of the 7 samples of the test split also stand in train (2 exactly, 0 nearly)" in told
    assert "1 group with samples in more than one split" in told and "1 class to test that nothing is trained on, such as dog" in told
    assert "125 samples are few" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["/no/such/folder"], "/no/such/folder"),
        (["demo:digits", "--against", "/no/such/folder"], "/no/such/folder"),
        (["demo:digits", "--sheet", "sheet.jpg"], "end --sheet with .png"),
        (["demo:digits", "--method", "simcrl"], "did you mean simclr"),
        (["demo:digits", "--batch", "5000"], "do not fill a batch"),
        (["demo:digits", "--steps", "5", "--budget", "1m"], "give one of"),
        (["demo:digits", "--device", "tpu"], "no device is named"),
        (["demo:digits", "--set", "colour=red"], "has no setting 'colour'"),
    ],
)
def test_wrong_input_is_one_clear_line(words, told, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = command("inspect", *words)
    assert status == 2 and not out and told in err.strip().splitlines()[-1] and "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_a_sheet_of_what_are_no_pictures_is_refused(tmp_path):
    with pytest.raises(UserError, match="a contact sheet shows pictures"):
        leaven.inspect(np.random.default_rng(0).normal(size=(40, 5)), sheet=tmp_path / "sheet.png")
