"""Vectors on disk: what they hold, how writing them is gone on with, and what is refused."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from small import MINIMAL_CONFIG

import leaven
from leaven.data import Batch, open_data
from leaven.encoders import build_encoder
from leaven.encoders.store import save_encoder
from leaven.evaluation import features
from leaven.modalities import InputSpec, Pixels, Vector
from leaven.modalities.modality import fitted
from leaven.run import Run
from leaven.vectors import Vectors, weights_hash

COUNT, DIM = 47, 12


def make_run(path, seed=0, input=None, name="convnet", **arguments):
    """The folder of a run whose encoder has random weights."""
    torch.manual_seed(seed)
    input = input or InputSpec("pixels", (3, 16, 16), (0.5,) * 3, (0.25,) * 3)
    encoder = build_encoder(name, input, arguments or ({"width": 4, "features": DIM} if name == "convnet" else {}))
    run = Run(path)
    run.write_config(MINIMAL_CONFIG)
    save_encoder(run.encoder_folder, encoder)
    return run


def make_pictures(root, count=COUNT, side=16, seed=0):
    """Noise in one subfolder a class, of several sizes."""
    generator = np.random.default_rng(seed)
    for number in range(count):
        height, width = side + int(generator.integers(0, 9)), side + int(generator.integers(0, 9))
        path = root / ["cat", "dog"][number % 2] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return make_pictures(tmp_path_factory.mktemp("data") / "pictures")


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch):
    """Several batches a shard, and an uneven last one."""
    monkeypatch.setattr(features, "VALUES_AT_ONCE", 8 * 3 * 16 * 16)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


class Stop(Exception):
    """An end in the middle."""


def stop_at(samples):
    def progress(task, done, total):
        if task == "embedded" and done >= samples:
            raise Stop

    return progress


# --- what is written ---


def test_array_shards_and_memory_hold_what_the_encoder_gives_in_the_order_of_the_data(run, pictures, tmp_path):
    data = open_data(pictures, size=16, channels=3)
    with torch.no_grad():
        encoder = leaven.load(run)
        expected = encoder(fitted(data.rows["x"], encoder.input)).numpy()
    kept = leaven.embed(run, pictures)
    array = leaven.embed(run, pictures, out=tmp_path / "v.npy")
    shards = leaven.embed(run, pictures, out=tmp_path / "v", shard_size=8)
    assert kept.shape == array.shape == shards.shape == (COUNT, DIM)
    assert kept.dtype == array.dtype == shards.dtype == np.float32
    assert isinstance(array, np.memmap) and isinstance(shards, Vectors)
    np.testing.assert_allclose(kept, expected, atol=1e-5)
    np.testing.assert_array_equal(array, kept)
    np.testing.assert_array_equal(np.asarray(shards), kept)  # batches of 8 in shards of 8
    np.testing.assert_array_equal(np.load(tmp_path / "v.npy", allow_pickle=False), kept)


def test_a_shard_is_a_table_that_others_can_read_and_says_where_it_comes_from(run, pictures, tmp_path):
    leaven.embed(run, pictures, out=tmp_path / "v", shard_size=20)
    assert sorted(contents(tmp_path / "v")) == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    schema = pq.read_schema(tmp_path / "v" / "part-00000.parquet")
    assert schema.names == ["path", "index", "label", "vector"]
    assert schema.field("vector").type.value_type == pa.float32() and schema.field("vector").type.list_size == DIM
    assert (schema.field("path").type, schema.field("index").type, schema.field("label").type) == (pa.string(), pa.int64(), pa.string())
    data = open_data(pictures)
    table = pq.read_table(tmp_path / "v")
    assert table["path"].to_pylist() == list(data.files)
    assert table["index"].to_pylist() == list(range(COUNT))
    assert table["label"].to_pylist() == [Path(file).parent.name for file in data.files]
    told = json.loads(schema.metadata[b"leaven"])
    assert told["run"] == str(run.path) and told["encoder"] == "convnet" and told["dim"] == DIM and told["samples"] == COUNT
    assert told["fingerprint"] == open_data(pictures, size=16, channels=3).fingerprint and told["leaven"] == leaven.__version__


def test_splits_are_told_and_samples_without_a_file_or_a_label_have_none(run, tmp_path):
    pixels = torch.randint(0, 256, (9, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    leaven.embed(run, (pixels, [1, -1, 0, 0, 1, 1, -1, 0, 1]), out=tmp_path / "arrays")
    table = pq.read_table(tmp_path / "arrays")
    assert table.column_names == ["path", "index", "label", "vector"]
    assert table["path"].to_pylist() == [None] * 9 and table["label"].to_pylist()[:3] == ["1", None, "0"]
    for part in ("train", "test"):
        make_pictures(tmp_path / "data" / part, count=4)
    leaven.embed(run, tmp_path / "data", out=tmp_path / "splits")
    table = pq.read_table(tmp_path / "splits")
    assert table["split"].to_pylist() == [path.split("/")[0] for path in table["path"].to_pylist()] == ["test"] * 4 + ["train"] * 4


@pytest.mark.parametrize("seed", range(6))
def test_shards_of_any_size_hold_every_sample_once_and_are_read_like_an_array(run, tmp_path, seed):
    generator = np.random.default_rng(seed)
    count, size = int(generator.integers(1, 40)), int(generator.integers(1, 45))
    pixels = torch.from_numpy(generator.integers(0, 256, (count, 3, 16, 16), dtype=np.uint8))
    found, whole = leaven.embed(run, pixels, out=tmp_path / "v", shard_size=size), leaven.embed(run, pixels)
    assert len(list((tmp_path / "v").iterdir())) == -(-count // size)
    assert pq.read_table(tmp_path / "v")["index"].to_pylist() == list(range(count))
    whole_again = np.asarray(found)
    np.testing.assert_allclose(whole_again, whole, atol=1e-6)
    for _ in range(30):
        start, stop = (int(bound) for bound in generator.integers(-count - 3, count + 4, 2))
        step = int(generator.choice([1, 1, 1, 2, -1]))
        np.testing.assert_array_equal(found[start:stop:step], whole_again[start:stop:step])
        np.testing.assert_array_equal(found[start % count], whole_again[start % count])
    np.testing.assert_array_equal(found[-1], whole_again[-1])
    with pytest.raises(IndexError):
        found[count]


def test_a_shard_is_64_megabytes_unless_told(run, pictures, tmp_path):
    leaven.embed(run, pictures, out=tmp_path / "v")
    assert json.loads(pq.read_schema(tmp_path / "v" / "part-00000.parquet").metadata[b"leaven"])["shard_size"] * DIM * 4 == pytest.approx(
        2**26, rel=1e-5
    )


def test_features_stream_to_the_file_batch_by_batch(run, pictures, tmp_path, monkeypatch):
    selected, sizes = [], []
    select = Pixels.__getitem__
    monkeypatch.setattr(Pixels, "__getitem__", lambda self, rows: selected.append(rows) or select(self, rows))

    def progress(task, done, total):
        if task == "embedded":
            sizes.append((done, sum(len(rows) for rows in selected), total))

    leaven.embed(run, pictures, out=tmp_path / "v.npy", progress=progress)
    batches = selected[: len(sizes)]
    assert torch.cat(batches).tolist() == list(range(COUNT))
    assert max(len(rows) for rows in batches) == 8
    assert sizes == [(done, done, COUNT) for done in (8, 16, 24, 32, 40, 47)]  # no batch is read before the one before it is written


def test_pictures_beyond_the_cache_give_the_same_vectors(run, tmp_path, monkeypatch):
    data = make_pictures(tmp_path / "data", count=20)
    kept = leaven.embed(run, data)
    monkeypatch.setenv("LEAVEN_CACHE_LIMIT", "0")
    monkeypatch.setenv("LEAVEN_CACHE", str(tmp_path / "cache"))
    assert open_data(data, size=16, channels=3).undecoded
    np.testing.assert_array_equal(leaven.embed(run, data, out=tmp_path / "v", shard_size=8)[:], kept)


def test_bf16_is_near_fp32_and_kept_as_fp32(run, pictures, tmp_path):
    exact, rounded = leaven.embed(run, pictures), leaven.embed(run, pictures, out=tmp_path / "v", precision="bf16")
    distance = np.linalg.norm(rounded[:] - exact, axis=1) / np.linalg.norm(exact, axis=1)
    assert rounded[:].dtype == np.float32 and 0 < distance.max() < 0.02
    assert json.loads(pq.read_schema(tmp_path / "v" / "part-00000.parquet").metadata[b"leaven"])["precision"] == "bf16"


def test_each_of_two_encoders_reads_its_own_role(tmp_path):
    run = make_run(tmp_path / "two")
    for role, seed, dim in (("a", 1, 5), ("b", 2, 7)):
        save_encoder(run.encoder_folder / role, leaven.load(make_run(tmp_path / role, seed, InputSpec("vector", (4,)), "mlp", width=dim)))
    for file in run.encoder_folder.glob("*.*"):
        file.unlink()
    data = {"a": Vector(torch.randn(6, 4)), "b": Vector(torch.randn(6, 4))}
    with torch.no_grad():
        expected = leaven.load(run, "b")(data["b"]).numpy()
    np.testing.assert_allclose(leaven.embed(run, Batch.of(**data), role="b", out=tmp_path / "v")[:], expected, atol=1e-6)
    with pytest.raises(leaven.UserError, match="several encoders: a, b"):
        leaven.embed(run, Batch.of(**data))


def embed_here(run, data, out):
    from leaven.training.distributed import rank

    steps = []
    found = leaven.embed(run, data, out=out, progress=lambda task, done, total: steps.append(done))
    return rank(), len(steps), found[:].tolist()


@pytest.mark.parametrize("out", ["v", "v.npy"])
def test_of_two_processes_the_first_writes_and_both_read(run, pictures, tmp_path, pair, out):
    (_, wrote, mine), (_, wrote_too, yours) = pair.run(embed_here, str(run.path), str(pictures), str(tmp_path / out))
    assert mine == yours and len(mine) == COUNT
    assert wrote > 0 and wrote_too == 0


# --- several processes ---


def embed_slowly(run, data, outs, writing, go_on):
    for out, begun, ended in zip(outs, writing, go_on, strict=True):
        leaven.embed(run, data, out=out, progress=lambda task, *_, begun=begun, ended=ended: task == "embedded" and (begun.set() or ended.wait(120)))


def test_a_second_process_that_writes_the_same_vectors_is_refused_and_the_first_ends_well(run, pictures, tmp_path):
    context = multiprocessing.get_context("spawn")
    outs = [str(tmp_path / "v"), str(tmp_path / "v.npy")]
    writing, go_on = [context.Event(), context.Event()], [context.Event(), context.Event()]
    process = context.Process(target=embed_slowly, args=(str(run.path), str(pictures), outs, writing, go_on))
    process.start()
    try:
        for out, begun, ended in zip(outs, writing, go_on, strict=True):
            assert begun.wait(120)
            with pytest.raises(
                leaven.UserError, match=rf"another process is writing these vectors \(process {process.pid} on .*\) \({out}\): wait for it"
            ):
                leaven.embed(run, pictures, out=out)
            ended.set()
        process.join(120)
    finally:
        process.kill()
    assert process.exitcode == 0
    expected = leaven.embed(run, pictures)
    for out in outs:
        np.testing.assert_allclose(leaven.embed(run, pictures, out=out)[:], expected, atol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v", "v.npy"]


# --- interruptions ---


def test_an_interrupted_call_is_gone_on_with_after_the_last_whole_shard(run, pictures, tmp_path):
    leaven.embed(run, pictures, out=tmp_path / "whole", shard_size=10)
    with pytest.raises(Stop):
        leaven.embed(run, pictures, out=tmp_path / "v", shard_size=10, progress=stop_at(28))
    there = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "v").iterdir()}
    assert sorted(there) == ["part-00000.parquet", "part-00001.parquet"]
    done = []
    leaven.embed(run, pictures, out=tmp_path / "v", shard_size=10, progress=lambda task, count, total: done.append(count))
    assert [count for count in done if count < 20] == [10]  # the first shards are passed over
    assert all((tmp_path / "v" / name).stat().st_mtime_ns == written for name, written in there.items())
    assert contents(tmp_path / "v") == contents(tmp_path / "whole")


def test_a_finished_folder_is_not_encoded_again(run, pictures, tmp_path, monkeypatch):
    leaven.embed(run, pictures, out=tmp_path / "v", shard_size=10)
    monkeypatch.setattr(leaven.encoders.Encoder, "__call__", lambda *_: pytest.fail("encoded again"))
    assert leaven.embed(run, pictures, out=tmp_path / "v", shard_size=10).shape == (COUNT, DIM)


def test_a_lost_or_damaged_shard_is_written_again(run, pictures, tmp_path):
    leaven.embed(run, pictures, out=tmp_path / "v", shard_size=10)
    before = contents(tmp_path / "v")
    (tmp_path / "v" / "part-00001.parquet").unlink()
    half = tmp_path / "v" / "part-00003.parquet"
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    with pytest.raises(leaven.UserError, match="not all vectors are here"):
        Vectors(tmp_path / "v")
    leaven.embed(run, pictures, out=tmp_path / "v", shard_size=10)
    assert contents(tmp_path / "v") == before


def test_an_interrupted_array_leaves_the_old_one_and_nothing_else(run, pictures, tmp_path):
    np.save(tmp_path / "v.npy", np.arange(3))
    with pytest.raises(Stop):
        leaven.embed(run, pictures, out=tmp_path / "v.npy", progress=stop_at(28))
    assert [path.name for path in tmp_path.iterdir()] == ["v.npy"]
    assert np.load(tmp_path / "v.npy").tolist() == [0, 1, 2]


def test_what_killed_processes_left_is_cleared_away_but_not_what_others_are_writing(run, pictures, tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / "v").mkdir()
    for name in ("v.npy", "v/part-00000.parquet"):
        (tmp_path / f"{name}.{gone.pid}.partial").write_bytes(b"half")
        (tmp_path / f"{name}.{os.getppid()}.partial").write_bytes(b"half")
    leaven.embed(run, pictures, out=tmp_path / "v.npy")
    leaven.embed(run, pictures, out=tmp_path / "v", shard_size=30)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v", "v.npy", f"v.npy.{os.getppid()}.partial"]
    assert sorted(contents(tmp_path / "v")) == ["part-00000.parquet", f"part-00000.parquet.{os.getppid()}.partial", "part-00001.parquet"]


@pytest.mark.slow
def test_kill_9_at_random_moments_changes_no_byte(run, tmp_path):
    data = make_pictures(tmp_path / "data", count=300)
    words = [sys.executable, "-m", "leaven.cli", "embed", str(run.path), str(data), "--shard-size", "20", "--out"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*words, str(tmp_path / "whole")], check=True, env=environment, capture_output=True)
    generator, killed = np.random.default_rng(0), 0
    for _ in range(6):
        process = subprocess.Popen([*words, str(tmp_path / "v")], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = len(list((tmp_path / "v").glob("*"))) if (tmp_path / "v").is_dir() else 0
        while process.poll() is None and len(list((tmp_path / "v").glob("*"))) <= before:
            time.sleep(0.001)
        time.sleep(generator.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        if process.returncode == 0:
            break
    assert killed >= 3
    subprocess.run([*words, str(tmp_path / "v")], check=True, env=environment, capture_output=True)
    assert contents(tmp_path / "v") == contents(tmp_path / "whole")


def test_a_full_disk_keeps_the_whole_shards(run, pictures, tmp_path, monkeypatch):
    write, written = pq.write_table, []

    def full(table, where, **options):
        if len(written) == 2:
            Path(where).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        written.append(write(table, where, **options))

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(leaven.UserError, match="the disk is full"):
        leaven.embed(run, pictures, out=tmp_path / "v", shard_size=10)
    assert sorted(contents(tmp_path / "v")) == ["part-00000.parquet", "part-00001.parquet"]
    monkeypatch.setattr(pq, "write_table", write)
    assert leaven.embed(run, pictures, out=tmp_path / "v", shard_size=10).shape == (COUNT, DIM)


# --- what is refused ---


def test_vectors_of_another_encoder_other_data_or_other_options_are_not_mixed(run, pictures, tmp_path):
    leaven.embed(run, pictures, out=tmp_path / "v", shard_size=10)
    before = contents(tmp_path / "v")
    other = make_pictures(tmp_path / "other", seed=1)
    lines = "".join(f"{file},{number % 3}\n" for number, file in enumerate(open_data(pictures).files))
    (tmp_path / "labels.csv").write_text(f"file,label\n{lines}")
    for match, call in [
        ("another encoder: convnet of", {"run": make_run(tmp_path / "trained", seed=1)}),
        ("of other data", {"data": other}),
        ("labels or splits", {"labels": tmp_path / "labels.csv"}),
        ("--precision fp32, not bf16", {"precision": "bf16"}),
        ("--shard-size 10, not 9", {"shard_size": 9}),
    ]:
        given = {"run": run, "data": pictures, "shard_size": 10, **call}
        with pytest.raises(leaven.UserError, match=match):
            leaven.embed(given.pop("run"), given.pop("data"), out=tmp_path / "v", **given)
    assert contents(tmp_path / "v") == before


def test_the_same_weights_are_known_in_any_layout_and_others_are_not():
    encoder = build_encoder("convnet", InputSpec("pixels", (3, 16, 16)), {"width": 4})
    same = weights_hash(encoder)
    assert same == weights_hash(encoder.to(memory_format=torch.contiguous_format))
    with torch.no_grad():
        encoder.stem.weight[0, 0, 0, 0] += 1e-6
    assert weights_hash(encoder) != same


@pytest.mark.parametrize(
    ("prepare", "out", "match"),
    [
        (lambda path: None, "v.csv", "not written as .csv"),
        (lambda path: path.mkdir(), "v.npy", "a folder is in the way"),
        (lambda path: path.write_text("mine"), "v", "a file is in the way"),
        (lambda path: (path.mkdir(), (path / "mine.txt").write_text("mine")), "v", "holds other files"),
        (lambda path: (path.mkdir(), pq.write_table(pa.table({"x": [1]}), path / "part-00000.parquet")), "v", "no vectors of"),
        (lambda path: path.parent.write_text(""), "file/v", "a file lies where a folder is needed"),
    ],
)
def test_what_is_in_the_way_stays_as_it_is(run, pictures, tmp_path, prepare, out, match):
    prepare(tmp_path / out)
    before = sorted((path, path.read_bytes() if path.is_file() else None) for path in tmp_path.rglob("*"))
    with pytest.raises(leaven.UserError, match=match):
        leaven.embed(run, pictures, out=tmp_path / out)
    assert sorted((path, path.read_bytes() if path.is_file() else None) for path in tmp_path.rglob("*")) == before


def test_shards_of_a_newer_leaven_are_refused(run, pictures, tmp_path):
    leaven.embed(run, pictures, out=tmp_path / "v")
    path = tmp_path / "v" / "part-00000.parquet"
    table = pq.read_table(path)
    told = json.loads(table.schema.metadata[b"leaven"])
    pq.write_table(table.replace_schema_metadata({"leaven": json.dumps({**told, "format": 2})}), path)
    with pytest.raises(leaven.UserError, match="newer Leaven"):
        leaven.embed(run, pictures, out=tmp_path / "v")


@pytest.mark.parametrize("out", ["v", "v.npy"])
def test_features_that_are_not_finite_are_refused_with_the_sample(tmp_path, monkeypatch, out):
    run = make_run(tmp_path / "run", 0, InputSpec("vector", (4,), (0.0,) * 4, (1.0,) * 4), "mlp", width=8)
    encoder = leaven.load(run)
    numbers = torch.randn(20, 4)
    numbers[11] = 100.0
    monkeypatch.setattr(type(encoder), "forward", lambda self, x: torch.where(x.main[:, :1] > 99, torch.inf, x.main[:, :1]).repeat(1, encoder.dim))
    with pytest.raises(leaven.UserError, match=r"NaN or infinity \(#11\)"):
        leaven.embed(run, numbers, out=tmp_path / out)
    assert not (tmp_path / "v.npy").exists() and not list(tmp_path.glob("v/*"))


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (torch.rand(4, 5), r"reads pixels, and the data has x \(vector\)"),
        (open_data(torch.randint(0, 256, (4, 1, 16, 16), dtype=torch.uint8)), "3 channels, and the data has 1"),
    ],
)
def test_data_that_the_encoder_does_not_read_is_refused(run, data, match):
    with pytest.raises(leaven.UserError, match=match):
        leaven.embed(run, data)


@pytest.mark.parametrize(
    ("option", "match"), [({"shard_size": 0}, "one sample or more"), ({"precision": "fp64"}, "fp32"), ({"precision": "x"}, "'x'")]
)
def test_wrong_options_are_refused(run, pictures, tmp_path, option, match):
    with pytest.raises(leaven.UserError, match=match):
        leaven.embed(run, pictures, out=tmp_path / "v", **option)
    assert not (tmp_path / "v").exists()


# --- the command ---


def test_the_command_tells_programs_and_people_what_it_wrote(run, pictures, tmp_path, command):
    status, out, _ = command("embed", run.path, pictures, "--out", tmp_path / "v", "--shard-size", 20, "--json")
    assert status == 0 and json.loads(out) == {"out": str(tmp_path / "v"), "count": COUNT, "dim": DIM}
    status, out, _ = command("embed", run.path, pictures, "--out", tmp_path / "v.npy", "--precision", "auto")
    assert status == 0 and out == f"{tmp_path / 'v.npy'}: {COUNT} vectors of {DIM} numbers\n"
    status, out, err = command("embed", run.path, pictures, "--out", tmp_path / "v", "--shard-size", 10)
    assert status == 2 and not out and err.count("\n") == 1 and "give --shard-size 20" in err
