"""TensorBoard and Weights & Biases get the rows of metrics.jsonl, each step once, however often a training was interrupted."""

import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch

import leaven
from leaven.training.loop import Training
from leaven.training.trackers import Trackers, numbers

DATA = torch.randn(128, 8, generator=torch.Generator().manual_seed(0))


class Killed(Exception):
    """Stands for the power cut: nothing is written when it is raised."""


def cut_at(step, monkeypatch):
    one_step = Training._one_step

    def cut(training):
        one_step(training)
        if training.step == step:
            raise Killed

    monkeypatch.setattr(Training, "_one_step", cut)


def scalars(folder):
    """name -> {step: value} as TensorBoard shows them, and name -> texts."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    numbers = {}
    for name in events.Tags()["scalars"]:
        seen = [(event.step, event.value) for event in events.Scalars(name)]
        assert len(seen) == len(dict(seen)), f"{name} has a step twice"
        numbers[name] = dict(seen)
    texts = {name: [make_ndarray(event.tensor_proto).item().decode() for event in events.Tensors(name)] for name in events.Tags()["tensors"]}
    return numbers, texts


def test_tensorboard_shows_the_rows_of_the_metrics_once_each_after_an_interruption(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    arguments = {"steps": 20, "batch": 32, "out": tmp_path / "run", "track": ["tensorboard"]}
    cut_at(13, monkeypatch)
    with pytest.raises(Killed):
        leaven.pretrain(DATA, **arguments)
    monkeypatch.undo()
    run = leaven.pretrain(DATA, **arguments)
    numbers, texts = scalars(tmp_path / "run" / "tensorboard")
    rows = {row["step"]: row for row in run.metrics}
    assert {"loss", "nt_xent", "lr", "grad_norm", "feature_std", "rankme", "samples_per_second"} <= numbers.keys()
    for name in ("loss", "nt_xent", "lr", "grad_norm", "rankme"):
        expected = {step: row[name] for step, row in rows.items() if name in row}
        assert numbers[name] == pytest.approx(expected, rel=1e-6)
    assert '"name": "simclr"' in texts["asked/text_summary"][0]


def test_a_verdict_becomes_a_text(tmp_path):
    pytest.importorskip("tensorboard")
    with pytest.raises(leaven.errors.TrainingStopped):
        leaven.pretrain(torch.ones(64, 8), steps=4, batch=32, out=tmp_path / "run", track=["tensorboard"])
    _, texts = scalars(tmp_path / "run" / "tensorboard")
    assert "all 64 samples looked at are the same" in texts["verdict/text_summary"][0]


OFFLINE = """
import sys
import torch
import leaven
from leaven.training.loop import Training

data = torch.randn(128, 8, generator=torch.Generator().manual_seed(0))
one_step = Training._one_step

def cut(training):
    one_step(training)
    if training.step == int(sys.argv[2]):
        import os
        os._exit(9)

Training._one_step = cut
leaven.pretrain(data, steps=12, batch=32, out=sys.argv[1], track=["wandb"])
print("done")
"""


def test_wandb_keeps_its_rows_offline_without_an_account_and_goes_on_under_one_id(tmp_path):
    pytest.importorskip("wandb")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")} | {
        "HOME": str(tmp_path),
        "OMP_NUM_THREADS": "1",
    }
    for end, status, said in ((7, 9, ""), (100, 0, "done\n")):
        line = [sys.executable, "-c", OFFLINE, str(tmp_path / "run"), str(end)]
        found = subprocess.run(line, capture_output=True, text=True, env=environment, timeout=300)
        assert (found.returncode, found.stdout, found.stderr) == (status, said, "")
    rows = leaven.Run(tmp_path / "run").metrics
    seen, ids = [], set()
    for file in sorted((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")):
        ids.add(file.stem.removeprefix("run-"))
        seen += history(file)
    assert len(ids) == 1
    assert [row["_step"] for row in seen] == [row["step"] for row in rows]
    assert [row["loss"] for row in seen] == pytest.approx([row["loss"] for row in rows])


def history(path):
    """The rows in a file of wandb: records of LevelDB's log format (blocks of 32 KB; checksum, length, kind) after a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, whole, rows = path.read_bytes(), 7, b"", []
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record, whole = Record.FromString(whole), b""
            if record.WhichOneof("record_type") == "history":
                rows.append({item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item})
    return rows


def test_an_unknown_tracker_and_a_missing_package_say_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(leaven.UserError, match="--track takes tensorboard or wandb"):
        leaven.pretrain(DATA, steps=1, batch=32, out=tmp_path / "run", track=["tensorbord"])
    find_spec = leaven.training.trackers.importlib.util.find_spec
    monkeypatch.setattr(leaven.training.trackers.importlib.util, "find_spec", lambda name: None if name == "wandb" else find_spec(name))
    with pytest.raises(leaven.UserError, match=r"pip install 'leaven\[track\]'"):
        leaven.pretrain(DATA, steps=1, batch=32, out=tmp_path / "run", track=["wandb"])
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_tracker_that_fails_is_named_once_and_training_goes_on():
    class Full:
        def row(self, row):
            raise OSError(28, "No space left on device")

    class Listening:
        def __init__(self):
            self.seen = []

        def row(self, row):
            self.seen.append(row["step"])

    said, listening = [], Listening()
    trackers = Trackers([Full(), listening], said.append)
    for step in (1, 2):
        trackers.row({"step": step})
    assert len(said) == 1 and said[0].startswith("Full failed") and "No space left" in said[0]
    assert listening.seen == [1, 2]


def test_the_numbers_of_a_row_are_drawn_and_its_words_are_not():
    row = {"step": 3, "stage": "train", "loss": np.float64(0.5), "count": 2, "clock": {"seconds": 1.5}}
    assert numbers(row) == {"loss": 0.5, "count": 2.0, "seconds": 1.5}
