"""What goes wrong around a training ends in one clear line, loses nothing, and can be mended."""

import contextlib
import io
import json
import os
import pickle
import platform
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from test_cli import folder_of_pictures
from test_resume import final_state, without_clocks

import leaven
from leaven.data import open_data
from leaven.errors import Interrupted, TrainingStopped, UserError, out_of_memory
from leaven.methods.contrastive.simclr import SimCLR
from leaven.run import Run
from leaven.training.build import build_training
from leaven.training.checkpoint import Checkpoints, alone_in
from leaven.training.devices import StopRequest
from leaven.training.loop import Training
from leaven.training.plan import Plan
from leaven.training.request import Request
from leaven.training.step import Step

STEPS = ["--steps", 6, "--batch", 32]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LEAVEN_CACHE", str(folder))
    return folder


@pytest.fixture
def points(tmp_path):
    """Something that trains in no time: 128 vectors in a file."""
    path = tmp_path / "points.npy"
    np.save(path, np.random.default_rng(0).normal(size=(128, 8)).astype(np.float32))
    return path


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    found = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True, text=True)
    if found.returncode:
        pytest.skip(f"a small file system needs the right to mount one: {found.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    """Leave no room; removing the file gives it back."""
    filler = place / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filler


def one_line(err):
    """The last line of what was said, which must be the error, and the only sign of it."""
    assert "Traceback" not in err
    last = err.strip().splitlines()[-1]
    assert last.startswith("leaven: ")
    return last


def partial_files(folder):
    return [path for path in folder.rglob("*") if "partial" in path.name or path.name == ".lock"]


# --- broken data ---


def bomb():
    """A PNG whose header promises 10 gigapixels."""
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + struct.pack(">I", 0) + b"IEND" + bytes(4)


def test_training_goes_on_past_every_kind_of_broken_file_and_names_them(command, tmp_path):
    data = folder_of_pictures(tmp_path / "data", nested=True)
    whole = (data / "a" / "0.png").read_bytes()
    (data / "cut.png").write_bytes(whole[: len(whole) // 2])
    (data / "empty.jpg").write_bytes(b"")
    (data / "text.png").write_text("a text that is called a picture")
    (data / "bomb.png").write_bytes(bomb())
    (data / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (data / "loop.png").symlink_to(data / "loop.png")
    (data / "again").symlink_to(data)
    status, out, err = command("pretrain", data, *STEPS[:2], "--batch", 8, "--out", tmp_path / "run", "--set", "encoder.width=8", "--json")
    assert status == 0
    assert json.loads(out)["steps"] == 6
    assert "24 samples" in err and "6 broken set aside" in err


def test_a_picture_that_may_not_be_read_is_set_aside_with_the_reason(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    data = folder_of_pictures(tmp_path / "data", nested=True)
    (data / "a" / "0.png").chmod(0)
    for folder in (data, *data.parents):
        if Path(tempfile.gettempdir()) in folder.parents:
            folder.chmod(folder.stat().st_mode | 0o055)
    open_cache = tmp_path / "cache"
    open_cache.mkdir(mode=0o777)
    open_cache.chmod(0o777)
    os.seteuid(65534)
    try:
        found = open_data(data, cache_dir=open_cache)
    finally:
        os.seteuid(0)
    assert [(broken.file, broken.why) for broken in found.broken] == [("a/0.png", "Permission denied")]


def test_a_folder_without_pictures_is_one_line(command, tmp_path):
    (tmp_path / "data").mkdir()
    status, _, err = command("pretrain", tmp_path / "data", "--out", tmp_path / "run")
    assert status == 2
    assert "no pictures, sounds, tables or texts here" in one_line(err) and "no files" in err
    assert not (tmp_path / "run").exists()


def test_one_picture_is_too_few_to_learn_from_and_says_so(command, tmp_path):
    (tmp_path / "data").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(tmp_path / "data" / "a.png")
    status, _, err = command("pretrain", tmp_path / "data", *STEPS[:2], "--out", tmp_path / "run")
    assert status == 2
    assert "1 sample is too few to learn from" in one_line(err)
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def vector_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("vectors") / "run"
    leaven.pretrain(torch.randn(128, 8, generator=torch.Generator().manual_seed(0)), steps=2, batch=32, out=out)
    return out


def test_one_class_cannot_be_scored_and_says_so(command, vector_run, tmp_path):
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32), y=np.zeros(40, int))
    status, _, err = command("evaluate", vector_run, tmp_path / "data.npz")
    assert status == 2
    assert "two classes or more" in one_line(err)


def test_a_class_with_one_sample_is_scored_with_a_note(command, vector_run, tmp_path):
    labels = np.arange(60) % 2
    labels[7] = 2
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32), y=labels)
    status, out, _ = command("evaluate", vector_run, tmp_path / "data.npz", "--json", "--labels-only", "1s", "--labels-per-class", "1,2")
    assert status == 0
    assert 0 <= json.loads(out)["scores"]["linear"]["accuracy"] <= 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--columns", "x=picture"], "no column 'picture'"),
        (["--columns", "picture"], "--columns takes name=value"),
        (["--labels", "kind"], "no column 'kind'"),
        (["--labels", "missing.csv"], "No such file or directory (missing.csv)"),
        (["--labels", "other.csv"], "2 of 2 labels match no file"),
    ],
)
def test_a_wrong_column_or_labels_that_match_nothing_are_one_line(options, told, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    stream = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(stream, "PNG")
    pq.write_table(pa.table({"image": pa.array([stream.getvalue()] * 4, pa.binary())}), "table.parquet")
    Path("other.csv").write_text("file,label\nx/1.png,a\nx/2.png,b\n")
    status, _, err = command("pretrain", "table.parquet", *options, "--out", "run")
    assert status == 2
    assert told in one_line(err)
    assert not Path("run").exists()


# --- full and closed disks ---


def test_a_disk_that_fills_while_pictures_are_decoded_leaves_nothing_and_the_next_call_goes_through(small_disk, tmp_path, monkeypatch):
    data = folder_of_pictures(tmp_path / "data", count=200, side=40)
    monkeypatch.setenv("LEAVEN_CACHE", str(small_disk / "cache"))
    fillers = []
    with pytest.raises(UserError, match="disk is full") as caught:
        open_data(data, progress=lambda done, total: fillers.append(fill(small_disk)))
    assert "LEAVEN_CACHE" in caught.value.hint
    assert not [path for path in (small_disk / "cache").rglob("*") if path.is_file()]
    for filler in fillers:
        filler.unlink(missing_ok=True)
    assert len(open_data(data)) == 200


def test_a_disk_that_fills_before_a_checkpoint_keeps_the_last_one_and_training_goes_on_to_the_same_end(small_disk, points, tmp_path, monkeypatch):
    arguments = {"data": points, "steps": 12, "batch": 32, "checkpoint_seconds": 0.0, "settings": {"encoder.width": 32}}
    whole = leaven.pretrain(out=tmp_path / "whole", **arguments)
    out, fillers, save = small_disk / "run", [], Checkpoints.save

    def save_into_a_full_disk(checkpoints, step, state):
        if step == 7:
            fillers.append(fill(small_disk))
        save(checkpoints, step, state)

    monkeypatch.setattr(Checkpoints, "save", save_into_a_full_disk)
    with pytest.raises(UserError, match="disk is full") as caught:
        leaven.pretrain(out=out, **arguments)
    monkeypatch.undo()
    assert "free some space" in caught.value.hint
    assert not partial_files(out)
    assert Checkpoints(out / "checkpoint").load()["step"] == 6
    fillers[0].unlink()
    again = leaven.pretrain(out=out, **arguments)
    assert without_clocks(again) == without_clocks(whole)
    for name, tensor in final_state(whole)["method"].items():
        assert torch.equal(tensor, final_state(again)["method"][name]), name


def test_a_disk_that_fills_under_the_metrics_is_one_line_and_training_goes_on_to_the_same_end(small_disk, points, tmp_path, monkeypatch):
    arguments = {"data": points, "steps": 12, "batch": 32, "settings": {"encoder.width": 32}}
    whole = leaven.pretrain(out=tmp_path / "whole", **arguments)
    out, fillers, append = small_disk / "run", [], Run.append_metrics

    def append_to_a_full_disk(run, row):
        if row["step"] == 5:
            with run.metrics_path.open("a") as file:  # a row that reaches over the end of the disk's last block
                file.write(" " * 4000)
            fillers.append(fill(small_disk))
        append(run, row)

    monkeypatch.setattr(Run, "append_metrics", append_to_a_full_disk)
    with pytest.raises(UserError, match="disk is full"):
        leaven.pretrain(out=out, **arguments)
    monkeypatch.undo()
    fillers[0].unlink()
    assert without_clocks(leaven.pretrain(out=out, **arguments)) == without_clocks(whole)


@pytest.mark.parametrize("out", ["vectors.npy", "vectors"])
def test_a_disk_that_fills_while_vectors_are_written_leaves_no_partial_file_and_the_next_call_goes_through(
    out,
    small_disk,
    vector_run,
    command,
    tmp_path,
):
    np.save(tmp_path / "many.npy", np.random.default_rng(0).normal(size=(2000, 8)).astype(np.float32))
    (small_disk / "reserve").write_bytes(bytes(3 * 2**20))
    words = ["embed", vector_run, tmp_path / "many.npy", "--out", small_disk / out]
    status, _, err = command(*words)
    assert status == 2
    assert "the disk is full" in one_line(err) and "free some space" in err
    assert not [path for path in small_disk.rglob("*") if path.is_file() and path.name != "reserve"]
    (small_disk / "reserve").unlink()
    assert command(*words)[0] == 0


def test_an_output_folder_that_is_read_only_is_one_line(small_disk, points, command):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    status, _, err = command("pretrain", points, *STEPS, "--out", small_disk / "run")
    assert status == 2
    assert "cannot write here: Read-only file system" in one_line(err) and "--out" in err


@pytest.mark.parametrize("out", ["taken", "taken/below"])
def test_a_file_in_the_way_of_the_run_folder_is_one_line_and_stays(out, points, command, tmp_path):
    (tmp_path / "taken").write_text("mine")
    status, _, err = command("pretrain", points, *STEPS, "--out", tmp_path / out)
    assert status == 2
    assert "a file lies where a folder is needed" in one_line(err)
    assert (tmp_path / "taken").read_text() == "mine"


# --- what a training may meet ---


def test_nan_in_the_loss_stops_with_status_3_naming_step_and_term_and_the_last_good_state_goes_on(points, command, tmp_path, monkeypatch):
    loss, calls = SimCLR.loss, []

    def poisoned(method, outputs):
        calls.append(1)
        found = loss(method, outputs)
        return {name: term * float("nan") for name, term in found.items()} if len(calls) == 4 else found

    monkeypatch.setattr(SimCLR, "loss", poisoned)
    words = ["pretrain", points, *STEPS, "--out", tmp_path / "run"]
    status, out, err = command(*words, "--json")
    assert status == 3
    assert "non-finite loss at step 3" in one_line(err) and "nt_xent is not finite" in err
    assert json.loads(out)["error"]["where"] == "step 3"
    state = Checkpoints(tmp_path / "run" / "checkpoint").load()
    assert all(tensor.isfinite().all() for tensor in state["method"].values())
    monkeypatch.undo()
    assert command(*words)[0] == 0


@pytest.mark.parametrize("kind", ["gpu", "cpu", "python"])
def test_out_of_memory_says_which_options_help(kind, points, command, tmp_path, monkeypatch):
    def too_much(*_):
        if kind == "gpu":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        torch.empty(2**60) if kind == "cpu" else bytearray(2**60)

    monkeypatch.setattr(Step, "gradients", too_much)
    status, _, err = command("pretrain", points, *STEPS, "--out", tmp_path / "run")
    assert status == 2
    assert "out of memory" in one_line(err) and "--batch" in err and "--accumulate" in err
    assert Checkpoints(tmp_path / "run" / "checkpoint").load()["step"] == 0


def test_a_batch_that_is_too_small_for_batch_norm_is_one_line_and_the_mended_command_goes_through(points, command, tmp_path):
    words = ["pretrain", points, "--steps", 2, "--out", tmp_path / "run"]
    status, _, err = command(*words, "--batch", 1)
    assert status == 2
    assert "batch norm needs two samples" in one_line(err) and "--batch" in err
    assert command(*words, "--batch", 4)[0] == 0


def test_a_training_out_of_memory_goes_on_in_smaller_pieces(points, command, tmp_path, monkeypatch):
    gradients = Step.gradients

    def small_memory(stepper, parts, *arguments):
        if len(parts[0][0]) > 16 and small_memory.used > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        small_memory.used += 1
        return gradients(stepper, parts, *arguments)

    small_memory.used = 0
    monkeypatch.setattr(Step, "gradients", small_memory)
    words = ["pretrain", points, *STEPS, "--out", tmp_path / "run"]
    assert command(*words)[0] == 2
    status, _, err = command(*words, "--accumulate", 2)
    assert status == 0
    assert "accumulate was 1 and is now 2" in err


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not out_of_memory(ValueError("memory"))


MEMORY = """
import torch
from leaven.training.precision import give_back_memory, keep_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

keep_freed_memory()
before = resident()
blocks = [torch.ones(5_000_000) for _ in range(20)]  # 400 MB
last = torch.ones(1000)  # above them, so that nothing is freed by the heap's becoming shorter
del blocks
kept = resident() - before
give_back_memory()
print(kept > 3e8, resident() - before < 1e8)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc" or not Path("/proc/self/statm").exists(), reason="needs glibc on Linux")
def test_freed_memory_is_kept_while_it_is_needed_and_then_given_back():
    assert subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True).stdout.split() == ["True", "True"]


def test_when_no_checkpoint_is_whole_training_begins_anew_and_says_so(points, tmp_path, monkeypatch):
    arguments = {"data": points, "steps": 6, "batch": 32, "out": tmp_path / "run", "checkpoint_seconds": 0.0}
    one_step = Training._one_step

    def cut(training):
        one_step(training)
        if training.step == 4:
            raise RuntimeError("power cut")

    monkeypatch.setattr(Training, "_one_step", cut)
    with pytest.raises(RuntimeError, match="power cut"):
        leaven.pretrain(**arguments)
    monkeypatch.undo()
    for path in Checkpoints(tmp_path / "run" / "checkpoint").files():
        path.write_bytes(path.read_bytes()[:100])
    said = []
    run = leaven.pretrain(**arguments, say=said.append)
    assert any("no whole checkpoint is left" in line for line in said)
    assert [row["step"] for row in run.metrics] == [1, 2, 3, 4, 5, 6]


# --- interruptions ---

SLOW_STEPS = """
import itertools, os, sys, time
import leaven.cli
from leaven.training.step import Step

gradients, number = Step.gradients, itertools.count(1)

def slow(*arguments):
    if next(number) >= 3:
        print("slow", file=sys.stderr, flush=True)
        time.sleep(float(os.environ["STEP_SECONDS"]))
    return gradients(*arguments)

Step.gradients = slow
leaven.cli.main()
"""


def start(words, seconds):
    """`leaven ...` in a process of its own, whose steps take this long from the third on; returns when it is in that step."""
    environment = {**os.environ, "STEP_SECONDS": str(seconds), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-c", SLOW_STEPS, *map(str, words)]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    lines = []
    while (told := process.stderr.readline()) != "slow\n":
        lines.append(told)
        assert told, "".join(lines)
    return process


def test_sigterm_ends_within_five_seconds_with_a_checkpoint_and_the_same_command_goes_on(points, command, tmp_path):
    words = ["pretrain", points, "--steps", 40, "--batch", 32, "--out", tmp_path / "run"]
    process = start([*words, "--json"], 0.5)
    asked = time.time()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    step = Checkpoints(tmp_path / "run" / "checkpoint").load()["step"]
    assert step >= 3
    assert max(path.stat().st_mtime for path in (tmp_path / "run" / "checkpoint").iterdir()) - asked < 5
    assert process.returncode == 130
    assert f"interrupted: stopped after step {step}; the same command goes on" in one_line(err)
    assert json.loads(out)["error"]["what"] == "interrupted"
    assert not partial_files(tmp_path / "run")
    status, _, err = command(*words)
    assert status == 0
    assert f"going on from step {step}" in err


def test_a_second_ctrl_c_ends_at_once_without_a_traceback_and_the_run_goes_on(points, command, tmp_path):
    words = ["pretrain", points, "--steps", 4, "--batch", 32, "--out", tmp_path / "run"]
    process = start(words, 60)
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):  # the first one waits for the end of the step
        process.wait(timeout=1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted: stopped at once" in one_line(err)
    assert command(*words)[0] == 0


def test_a_third_ctrl_c_is_left_to_the_system():
    before, stop = signal.getsignal(signal.SIGINT), StopRequest()

    def stopped_twice():
        with stop.heard():
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.asked
            try:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(5)
            finally:
                assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL

    with pytest.raises(Interrupted):
        stopped_twice()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_stop_during_the_calibration_of_a_budget_leaves_a_run_that_begins_anew(points, tmp_path, monkeypatch):
    update = Training._update

    def ask(training):
        os.kill(os.getpid(), signal.SIGTERM)
        return update(training)

    monkeypatch.setattr(Training, "_update", ask)
    with pytest.raises(Interrupted):
        leaven.pretrain(points, budget=2, batch=32, out=tmp_path / "run")
    monkeypatch.undo()
    assert Checkpoints(tmp_path / "run" / "checkpoint").load() is None
    assert leaven.pretrain(points, budget=2, batch=32, out=tmp_path / "run").finished


def stop_in(holder, name, monkeypatch):
    """SIGTERM arrives when this function is first called."""
    function, called = getattr(holder, name), threading.Lock()

    def stopped(*arguments, **keywords):
        if called.acquire(blocking=False):
            os.kill(os.getpid(), signal.SIGTERM)
        return function(*arguments, **keywords)

    monkeypatch.setattr(holder, name, stopped)


@pytest.mark.parametrize("work", ["decoding", "evaluate", "embed"])
def test_sigterm_outside_training_is_one_line_and_leaves_nothing_behind(work, vector_run, command, own_cache, tmp_path, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in vector_run.rglob("*")}
    handler = signal.getsignal(signal.SIGTERM)
    if work == "decoding":
        data = folder_of_pictures(tmp_path / "data")
        stop_in(sys.modules["leaven.data.picture_cache"], "decode", monkeypatch)
        words = ["pretrain", data, "--steps", 2, "--out", tmp_path / "run"]
    else:
        np.savez(tmp_path / "data.npz", x=np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32), y=np.arange(60) % 2)
        stop_in(sys.modules["leaven.encoders.dense"].MLP, "forward", monkeypatch)
        words = [work, vector_run, tmp_path / "data.npz", *(["--out", tmp_path / "vectors.npy"] if work == "embed" else [])]
    status, _, err = command(*words)
    assert status == 130
    assert "interrupted; nothing is half-written" in one_line(err)
    assert not (tmp_path / "run").exists()
    assert not list(tmp_path.glob("*vectors*"))
    assert not [path for path in own_cache.rglob("*") if path.is_file()]
    assert before == {path: path.stat().st_mtime_ns for path in vector_run.rglob("*")}
    assert signal.getsignal(signal.SIGTERM) is handler


# --- two at once ---

HOLD = """
import sys, time
from leaven.run import Run

with Run(sys.argv[1]).lock():
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def held_by_another(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_training_into_one_folder_is_refused_with_who_holds_it_until_that_process_is_gone(held_by_another, points, command, tmp_path):
    words = ["pretrain", points, *STEPS, "--out", tmp_path / "run"]
    for _ in range(2):  # asking changes nothing
        status, _, err = command(*words)
        assert status == 2
        assert f"another training is writing here (process {held_by_another.pid} on " in one_line(err)
    held_by_another.kill()
    held_by_another.wait()
    assert command(*words)[0] == 0
    assert not partial_files(tmp_path / "run")


def test_what_a_killed_process_left_half_written_is_cleared_away_by_the_next_training(points, command, tmp_path):
    left = [tmp_path / "run" / name for name in ("config.json.7.partial", "checkpoint/step-000000004.safetensors.7.partial")]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    (tmp_path / "run" / "film.mkv.partial").write_bytes(b"not ours")
    assert command("pretrain", points, *STEPS, "--out", tmp_path / "run")[0] == 0
    assert [path.name for path in partial_files(tmp_path / "run")] == ["film.mkv.partial"]


def test_two_processes_that_decode_the_same_pictures_at_once_both_succeed_and_leave_one_cache(own_cache, tmp_path):
    data = folder_of_pictures(tmp_path / "data", count=200)
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if len(open_data(data)) == 200 else 1)
            finally:
                os._exit(2)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    (entry,) = (path for path in (own_cache / "pictures").iterdir() if path.is_dir() and not path.name.startswith("."))
    assert (entry / "meta.json").is_file()


def try_to_hold(folder):
    try:
        with alone_in(Run(folder)):
            torch.distributed.barrier()
            return "held"
    except UserError as error:
        return str(error)


def test_the_processes_of_one_training_hold_its_folder_together(pair, tmp_path):
    assert pair.run(try_to_hold, tmp_path / "run") == ("held", "held")
    with Run(tmp_path / "run").lock():
        assert all("another training is writing here" in told for told in pair.run(try_to_hold, tmp_path / "run"))
    assert pair.run(try_to_hold, tmp_path / "run") == ("held", "held")


def interrupted_together(folder, who, number):
    """Train on two processes, one of which gets a signal; the step at which this process ended, and why."""
    data = open_data(torch.randn(96, 8, generator=torch.Generator().manual_seed(0)))
    parts = build_training(Request(), data, "cpu")
    training = Training(
        parts.method, parts.recipe, data.rows, data.train(), Plan(50, 32), Run(folder), Request(), contextlib.nullcontext, watch=False
    )
    one_step = training._one_step

    def step():
        if torch.distributed.get_rank() == who and training.step == 3:
            os.kill(os.getpid(), number)
        one_step()

    training._one_step = step
    try:
        training.run()
    except (Interrupted, UserError) as error:
        return training.step, type(error).__name__
    return training.step, ""


@pytest.mark.parametrize("who", [0, 1])
def test_sigterm_to_one_of_two_processes_ends_both_after_the_same_step_with_a_checkpoint(who, pair, tmp_path):
    assert pair.run(interrupted_together, tmp_path / "run", who, signal.SIGTERM) == ((4, "Interrupted"), (4, "Interrupted"))
    assert Checkpoints(tmp_path / "run" / "checkpoint").load()["step"] == 4


def unable_to_save(folder):
    save = Checkpoints.save

    def refuse(checkpoints, step, state):
        raise UserError("the disk is full")

    if torch.distributed.get_rank() == 0:
        Checkpoints.save = refuse
    try:
        return interrupted_together(folder, -1, 0)
    finally:
        Checkpoints.save = save


def test_a_checkpoint_that_the_first_process_cannot_write_ends_the_others_as_well(pair, tmp_path):
    assert pair.run(unable_to_save, tmp_path / "run") == ((0, "UserError"), (0, "Interrupted"))


def children(pid):
    """The processes that this one started."""
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]


@pytest.mark.slow
@pytest.mark.parametrize("asked", ["the first process", "the other process", "torchrun"])
def test_sigterm_to_one_process_of_two_from_the_command_line_ends_all_and_the_same_command_goes_on(asked, tmp_path):
    words = [
        "pretrain",
        "demo:digits",
        "--batch",
        "64",
        "--set",
        "encoder.width=8",
        "--precision",
        "fp32",
        "--steps",
        "200",
        "--out",
        str(tmp_path / "run"),
    ]
    start = ["-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "leaven.cli"] if asked == "torchrun" else ["-m", "leaven.cli"]
    line = [sys.executable, *start, *words, *([] if asked == "torchrun" else ["--devices", "2"])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and len(Run(tmp_path / "run").metrics) < 3:
        time.sleep(0.1)
    others = children(process.pid)
    os.kill(others[0] if asked == "the other process" else process.pid, signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    told = [line for line in err.splitlines() if "interrupted: stopped after step" in line]
    step = Checkpoints(tmp_path / "run" / "checkpoint").load()["step"]
    assert told == [f"leaven: interrupted: stopped after step {step}; the same command goes on"]
    if asked != "torchrun":
        assert (process.returncode, out) == (130, "")
        assert "Traceback" not in err
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in others) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{pid}").exists() for pid in others)
    found = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=600)
    assert found.returncode == 0, found.stderr
    assert f"going on from step {step}" in found.stderr
    assert [row["step"] for row in Run(tmp_path / "run").metrics] == list(range(1, 201))


# --- what somebody else may have put there ---


class Malicious:
    """Unpickling this writes a file."""

    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return Path.touch, (self.proof,)


def test_the_malicious_pickle_works_where_pickles_are_read(tmp_path):
    pickle.loads(pickle.dumps(Malicious(tmp_path / "proof")))
    assert (tmp_path / "proof").exists()


@pytest.fixture
def foreign_run(vector_run, tmp_path):
    shutil.copytree(vector_run, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("name", ["encoder/model.safetensors", "config.json", "encoder/config.json"])
def test_a_pickle_in_place_of_a_file_of_a_run_is_refused_and_never_executed(name, foreign_run, points, command, tmp_path):
    (foreign_run / name).write_bytes(pickle.dumps(Malicious(tmp_path / "proof")))
    status, _, err = command("embed", foreign_run, points, "--out", tmp_path / "v.npy")
    assert status == 2
    assert Path(name).name in one_line(err)
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize("ending", ["safetensors", "pt", "ckpt"])
def test_a_pickle_among_the_checkpoints_is_passed_over_and_never_executed(ending, points, command, tmp_path):
    words = ["pretrain", points, *STEPS, "--out", tmp_path / "run"]
    assert command(*words)[0] == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps({**config, "result": None}))
    (tmp_path / "run" / "checkpoint" / f"step-000000009.{ending}").write_bytes(pickle.dumps(Malicious(tmp_path / "proof")))
    status, _, err = command(*words)
    assert status == 0
    assert "going on from step 6" in err
    assert not (tmp_path / "proof").exists()


def test_checkpoints_without_their_configuration_are_left_alone(points, command, tmp_path):
    (tmp_path / "run" / "checkpoint").mkdir(parents=True)
    save_file({"x": torch.zeros(2)}, tmp_path / "run" / "checkpoint" / "step-000000009.safetensors")
    status, _, err = command("pretrain", points, *STEPS, "--out", tmp_path / "run")
    assert status == 2
    assert "checkpoints without their config.json" in one_line(err)
    assert (tmp_path / "run" / "checkpoint" / "step-000000009.safetensors").is_file()


@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_pickled_objects_in_arrays_are_refused_and_never_executed(ending, command, tmp_path):
    array = np.array([Malicious(tmp_path / "proof")] * 4, dtype=object)
    path = tmp_path / f"data.{ending}"
    np.save(path, array, allow_pickle=True) if ending == "npy" else np.savez(path, x=array)
    status, _, err = command("pretrain", path, "--out", tmp_path / "run")
    assert status == 2
    assert path.name in one_line(err)
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize("metadata", [None, {"state": "{"}, {"state": '{"$tensor": "missing"}'}, {"state": '{"a": 1}'}])
def test_a_checkpoint_of_another_program_is_no_checkpoint(metadata, tmp_path):
    save_file({"x": torch.zeros(2)}, tmp_path / "step-000000003.safetensors", metadata=metadata)
    assert Checkpoints(tmp_path).load() is None


OWN_METHOD = '''
from pathlib import Path
from torch import nn
from leaven.methods.method import Method, Outputs

Path(__file__).with_name("proof").touch()

class Network(nn.Linear):
    def forward(self, x):
        return super().forward(getattr(x, "numbers", x))

class Own(Method):
    """Pull a linear map towards 0."""
    loss_over_batch = False

    def __init__(self, data):
        super().__init__()
        self.network = Network(8, 2)

    def views(self, batch, draw):
        return batch["x"].numbers

    def forward(self, views):
        return Outputs(y=self.network(views))

    def loss(self, outputs):
        return {"size": outputs.y.square().mean()}

    def encoders(self):
        return {"encoder": self.network}
'''


def test_code_that_a_run_names_is_not_executed_unless_the_user_gives_it(points, command, tmp_path):
    (tmp_path / "own.py").write_text(OWN_METHOD)
    named = f"{tmp_path / 'own.py'}:Own"
    assert command("pretrain", points, *STEPS, "--method", named, "--out", tmp_path / "run")[0] == 0
    assert isinstance(leaven.load(tmp_path / "run"), torch.nn.Linear)  # given in this process
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(tmp_path / "own.py", elsewhere)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["asked"]["method"]["name"] = f"{elsewhere / 'own.py'}:Own"
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    for words in (["embed", tmp_path / "run", points, "--out", tmp_path / "v.npy"], ["evaluate", tmp_path / "run", points]):
        status, _, err = command(*words)
        assert status == 2
        assert "not Leaven's own" in one_line(err) and "method=" in err
    with pytest.raises(UserError, match="not Leaven's own"):
        leaven.load(tmp_path / "run")
    assert not (elsewhere / "proof").exists()
    assert isinstance(leaven.load(tmp_path / "run", method=named), torch.nn.Linear)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "config.json is not whole"),
        ("[1]", "config.json is not whole"),
        ("{}", "not that of a run"),
        ('{"format": "new"}', "not that of a run"),
        ('{"format": 2, "asked": {}, "plan": {}}', "format 2"),
    ],
)
def test_a_damaged_or_newer_run_is_refused_by_every_command(content, told, points, command, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(content)
    for words in (
        ["embed", tmp_path / "run", points, "--out", tmp_path / "v.npy"],
        ["evaluate", tmp_path / "run", points],
        ["pretrain", points, *STEPS, "--out", tmp_path / "run"],
    ):
        status, _, err = command(*words)
        assert status == 2
        assert told in one_line(err)
    assert (tmp_path / "run" / "config.json").read_text() == content


# --- the command line itself ---


@pytest.mark.parametrize("words", [["pretrain"], ["pretran", "x"], ["pretrain", "x", "--stepz", "3"], ["pretrain", "x", "--steps", "many"]])
def test_a_command_line_that_cannot_be_understood_is_one_line_and_one_object(words, command):
    status, out, err = command(*words, "--json")
    assert status == 2
    assert "--help`" in one_line(err) and len(err.strip().splitlines()) == 1
    assert json.loads(out)["error"]["what"]


def test_an_error_of_the_system_is_one_line(command, points, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(5, "Input/output error", str(points))

    monkeypatch.setattr("leaven.data.sources.arrays.as_tensor", refuse)
    status, _, err = command("pretrain", points, *STEPS, "--out", tmp_path / "run")
    assert status == 2
    assert "Input/output error" in one_line(err) and str(points) in err


def test_a_verdict_that_ends_training_is_an_object_for_programs(points, tmp_path, command):
    np.save(points, np.ones((64, 8), np.float32))
    status, out, err = command("pretrain", points, *STEPS, "--out", tmp_path / "run", "--json")
    assert status == 3
    assert json.loads(out)["error"]["what"] == "constant data"
    assert "constant data at step 0" in one_line(err)
    with pytest.raises(TrainingStopped):
        leaven.pretrain(np.load(points), steps=2, batch=32, out=tmp_path / "again")
