"""The command line end to end: what people and programs get from it."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

import leaven
from leaven.evaluation.scorecard import Scorecard

SMALL = ["--set", "encoder.width=8"]


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("digits") / "run"
    leaven.pretrain("demo:digits", steps=150, out=out, settings={"encoder.width": 16})
    return out


def folder_of_pictures(root, nested=False, count=24, side=20):
    """Red, green and blue noise, a subfolder a colour or scattered over nested folders."""
    generator = np.random.default_rng(0)
    for number in range(count):
        pixels = generator.integers(0, 90, (side, side, 3), dtype=np.uint8)
        pixels[..., number % 3] += 150
        folder = root / (f"a/{number % 5}/deep" if nested and number % 2 else "a" if nested else ["red", "green", "blue"][number % 3])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


def test_help_answers_quickly_without_loading_torch():
    begin = time.monotonic()
    found = subprocess.run([sys.executable, "-X", "importtime", "-m", "leaven.cli", "--help"], capture_output=True, text=True, check=True)
    assert "pretrain" in found.stdout and "evaluate" in found.stdout
    assert " torch" not in found.stderr
    assert time.monotonic() - begin < 20  # a bound for a busy machine; the import list is what is tested


def test_pretrain_on_a_nested_unlabeled_folder_with_a_broken_file(command, tmp_path):
    data = folder_of_pictures(tmp_path / "data", nested=True)
    (data / "a" / "broken.jpg").write_bytes(b"not a picture")
    status, out, err = command("pretrain", data, "--steps", 3, "--batch", 8, "--out", tmp_path / "run", "--json", *SMALL)
    told = json.loads(out)
    assert status == 0
    assert {"run", "method", "encoder", "data", "steps", "samples", "seconds", "samples_per_second", "time_split", "health"} <= told.keys()
    assert (told["steps"], told["samples"], told["method"], told["encoder"]) == (3, 24, "simclr", "convnet")
    assert "1 broken set aside" in err and "broken.jpg" in err
    assert (tmp_path / "run" / "report.html").stat().st_size > 100_000
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert files == {"config.json", "metrics.jsonl", "checkpoint", "encoder", "report.html"}


def test_what_pretrain_says_comes_next_asks_for_labels_where_there_are_none(command, tmp_path):
    data = folder_of_pictures(tmp_path / "data", count=60)
    (tmp_path / "lines.txt").write_text("".join(f"a cat number {number}\n" for number in range(40)))
    text = ["--method", "simcse", "--set", "encoder.width=16", "--set", "encoder.depth=1"]
    (tmp_path / "asked.csv").write_text("text,intent\n" + "".join(f"a cat number {number},{number % 3}\n" for number in range(40)))
    (tmp_path / "told.csv").write_text("text,label\n" + "".join(f"a cat number {number},{number % 3}\n" for number in range(40)))
    for source, options, told in (
        (data, SMALL, f"{data}"),
        (tmp_path / "lines.txt", text, f"{tmp_path}/lines.txt --labels FILE.csv"),
        (tmp_path / "asked.csv", text, f"{tmp_path}/asked.csv --labels intent"),
        (tmp_path / "told.csv", text, f"{tmp_path}/told.csv"),
    ):
        status, out, _ = command("pretrain", source, "--steps", 1, "--batch", 16, "--out", tmp_path / f"run-{source.stem}", *options)
        (then,) = [line for line in out.splitlines() if line.startswith("Next: ")]
        assert status == 0 and f"evaluate {tmp_path}/run-{source.stem} {told}" in then
        assert ("FILE.csv" in then) == (source.suffix == ".txt") and ("--labels" in then) == (source.name in ("lines.txt", "asked.csv"))


def test_evaluate_on_a_folder_with_a_subfolder_a_class(command, tmp_path):
    data = folder_of_pictures(tmp_path / "data", count=60)
    assert command("pretrain", data, "--steps", 3, "--batch", 16, "--out", tmp_path / "run", *SMALL)[0] == 0
    status, out, _ = command("evaluate", tmp_path / "run", data, "--json", "--labels-per-class", "1,2", "--budget", "5m")
    told = json.loads(out)
    assert status == 0
    assert {"accuracy", "interval"} <= told["scores"]["knn"].keys() and {"accuracy", "interval"} <= told["scores"]["linear"].keys()
    assert [point["labels_per_class"] for point in told["scores"]["few-label"]] == [1, 2]
    assert {"input", "untrained", "majority", "labels-only"} == told["floors"].keys()
    assert any("held out by content hash" in note for note in told["notes"])
    assert Scorecard.from_dict(json.loads((tmp_path / "run" / "scorecard.json").read_text())).scores == told["scores"]


def test_evaluate_tells_what_pretraining_is_worth_for_people(command, digits_run):
    status, out, err = command("evaluate", digits_run, "demo:digits", "--labels-only", "15s", "--labels-per-class", "1,10")
    assert status == 0
    assert "pre-trained" in out and "raw input" in out and "untrained encoder" in out and "labels only" in out
    assert "report.html" in out and "scoring the pre-trained encoder" in err


def test_pretraining_on_digits_beats_its_floors_with_few_labels(digits_run):
    card = leaven.evaluate(digits_run, "demo:digits", protocols=("few-label",), labels_only=0.001)
    ours, raw, fresh = (scores["few-label"] for scores in (card.scores, card.floors["input"], card.floors["untrained"]))
    assert ours[-1]["interval"][0] > fresh[-1]["interval"][1]
    assert ours[0]["accuracy"] > raw[0]["accuracy"] - 0.05


def test_embed_writes_one_vector_a_sample_in_order(command, digits_run, tmp_path):
    status, out, _ = command("embed", digits_run, "demo:digits", "--out", tmp_path / "v.npy", "--json")
    told, vectors = json.loads(out), np.load(tmp_path / "v.npy")
    assert status == 0
    assert vectors.shape == (told["count"], told["dim"]) == (1797, 512) and vectors.dtype == np.float32
    digits = leaven.data.open_data("demo:digits")
    with torch.no_grad():
        assert np.allclose(vectors[:5], leaven.load(digits_run)(digits.rows["x"].pixels[:5]).numpy(), atol=1e-5)


def test_the_demo_ends_with_a_table_and_a_report(command, tmp_path):
    status, out, err = command("demo", "--budget", "8s", "--out", tmp_path / "demo")
    assert status == 0
    assert "10 labels per class" in out
    assert "raw input" in out and "untrained encoder" in out and "labels only" in out
    assert "1,797 samples" in err
    assert (tmp_path / "demo" / "report.html").is_file()


def test_methods_and_encoders_list_what_there_is(command):
    listed = json.loads(command("methods", "--json")[1])
    assert {"simclr", "byol", "mae", "rotation"} <= {method["name"] for method in listed}
    assert all({"name", "family", "roles", "paper", "year", "parameters", "meanings"} <= method.keys() for method in listed)
    assert "temperature=0.2" in command("methods")[1]
    assert {"convnet", "vit"} <= {encoder["name"] for encoder in json.loads(command("encoders", "--json")[1])}
    assert "resnet18" in command("encoders")[1]


def test_one_method_or_encoder_is_shown_with_what_its_settings_mean(command):
    status, out, _ = command("methods", "dino")
    assert status == 0 and "momentum=0.99\n    of the teacher, rising to 1" in out and "simclr" not in out
    assert json.loads(command("encoders", "vit", "--json")[1])["meanings"]["width"] == "of a token"
    status, out, err = command("methods", "simcl")
    assert status == 2 and out == "" and "did you mean simclr" in err
    assert json.loads(command("methods", "bert", "--json")[1])["name"] == "masked_lm"
    status, out, err = command("methods", "minred")
    assert status == 2 and out == "" and "--stream minred" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["pretrain", "/no/such/folder"], "/no/such/folder"),
        (["pretrain", "demo:digits", "--method", "simcrl"], "did you mean simclr"),
        (["pretrain", "demo:digits", "--budget", "soon"], "a budget is a time like"),
        (["pretrain", "demo:digits", "--budget", "1m", "--steps", "5"], "give one of"),
        (["pretrain", "demo:digits", "--set", "temperature"], "--set takes name=value"),
        (["pretrain", "demo:digits", "--batch", "5000", "--steps", "1"], "do not fill a batch"),
        (["pretrain", "demo:digits", "--precision", "fp8"], "no precision is named 'fp8'"),
        (["pretrain", "demo:digits", "--device", "tpu"], "no device is named 'tpu'"),
        (["pretrain", "demo:digits", "--method", "mae", "--encoder", "convnet"], "needs an encoder with patches"),
        (["pretrain", ""], "the name of the data is empty"),
        (["pretrain", "demo:digits", "--seed", "1" * 26], "'--seed'"),
        (["pretrain", "demo:digits", "--seed", "-1"], "'--seed'"),
        (["pretrain", "demo:digits", "--epochs", "nan"], "'--epochs'"),
        (["pretrain", "demo:digits", "--epochs", "0"], "epochs must be above 0"),
        (["pretrain", "demo:digits", "--steps", "9" * 30], "at most 999,999,999 steps"),
        (["pretrain", "demo:digits", "--batch", "1" + "0" * 12], "do not fill a batch"),
        (["pretrain", "demo:digits", "--size", "99999999999"], "'--size'"),
        (["pretrain", "demo:digits", "--budget", "1e400h"], "a budget must be a positive time"),
        (["pretrain", "demo:digits", "--budget", "1e300h"], "at most 10 years"),
        (["pretrain", "demo:digits", "--budget", "-5m"], "a budget must be a positive time"),
        (["pretrain", "demo:digits", "--accumulate", "99999999999"], "cannot be split into 99,999,999,999 parts"),
        (["pretrain", "demo:digits", "--devices", "99999999999", "--device", "cpu"], "CPU cores"),
        (["pretrain", "demo:digits", "--set", "recipe.lr=nan"], "recipe.lr must be 0 or more"),
        (["pretrain", "demo:digits", "--set", "views.size=99999999999"], "a number of pixels up to 10,000"),
        (["compare", "demo:digits", "--methods", "simclr", "--seeds", "9" * 20], "'--seeds'"),
        (["evaluate", "/no/run", "demo:digits"], "no run here"),
        (["embed", "/no/run", "demo:digits", "--out", "v.npy"], "no run here"),
    ],
)
def test_wrong_input_is_one_clear_line_and_status_2(words, told, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = command(*words)
    assert status == 2
    last = err.strip().splitlines()[-1]
    assert last.startswith("leaven: ") and told in last
    assert "Traceback" not in err and not out
    assert not list(tmp_path.glob("*.npy"))


def test_errors_are_json_for_programs(command):
    status, out, _ = command("pretrain", "/no/such/folder", "--json")
    assert status == 2
    assert {"what", "where", "hint"} == json.loads(out)["error"].keys()


def test_evaluating_without_labels_says_where_to_put_them(command, digits_run, tmp_path):
    Image.fromarray(np.full((16, 16), 9, np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.full((16, 16), 99, np.uint8)).save(tmp_path / "b.png")
    status, _, err = command("evaluate", digits_run, tmp_path)
    assert status == 2 and "--labels" in err


def test_vectors_only_go_to_npy(command, digits_run, tmp_path):
    status, _, err = command("embed", digits_run, "demo:digits", "--out", tmp_path / "v.csv")
    assert status == 2 and ".npy" in err


def test_a_missing_extra_is_named_in_one_line(command, monkeypatch):
    def missing(*_, **__):
        raise ModuleNotFoundError("No module named 'transformers'", name="transformers.models")

    monkeypatch.setattr("leaven.cli.app", missing)
    status, _, err = command("methods")
    assert (status, err) == (2, "leaven: the package transformers is not installed: pip install 'leaven[text]'\n")


def test_a_collapsed_training_exits_with_3_and_says_why(command, tmp_path):
    status, _, err = command(
        "pretrain",
        "demo:digits",
        "--method",
        "byol",
        "--steps",
        200,
        "--batch",
        128,
        "--out",
        tmp_path / "run",
        *SMALL,
        "--set",
        "stop_gradient=false",
        "--set",
        "predictor=",
    )
    assert status == 3
    assert "collapsed" in err and "stop_gradient=False" in err and "checkpoint is kept" in err


def test_a_run_made_with_arrays_is_evaluated_with_arrays(tmp_path):
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(3, (300,), generator=generator)
    points = torch.eye(3)[classes] * 3 + torch.randn(300, 3, generator=generator)
    run = leaven.pretrain(points, steps=20, batch=64, out=tmp_path / "run")
    card = leaven.evaluate(run, (points, classes), labels_per_class=(1, 2), labels_only=10)
    assert 0.5 < card.scores["linear"]["accuracy"] <= 1.0
    assert leaven.embed(run, points).shape == (300, 256)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["--devices", "torchrun"])
def test_two_processes_from_the_command_line_make_one_run(launcher, tmp_path):
    words = ["pretrain", "demo:digits", "--steps", "4", "--batch", "64", "--set", "encoder.width=8", "--precision", "fp32"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    alone = [sys.executable, "-m", "leaven.cli", *words, "--out", str(tmp_path / "alone")]
    if launcher == "torchrun":
        both = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "leaven.cli", *words, "--out", str(tmp_path / "both")]
    else:
        both = [sys.executable, "-m", "leaven.cli", *words, "--devices", "2", "--out", str(tmp_path / "both")]
    for line in (alone, both):
        subprocess.run(line, check=True, env=environment, timeout=300)
    a, b = leaven.Run(tmp_path / "alone"), leaven.Run(tmp_path / "both")
    assert b.config["machine"]["processes"] == 2
    assert [row["step"] for row in a.metrics] == [row["step"] for row in b.metrics]
    assert a.metrics[0]["loss"] == pytest.approx(b.metrics[0]["loss"], rel=1e-4)
    assert a.metrics[-1]["loss"] == pytest.approx(b.metrics[-1]["loss"], rel=5e-2)


# --- real data, where it is ---


def test_pretrain_and_evaluate_on_parquet_in_the_hugging_face_convention(command, data_root, tmp_path):
    status, out, _ = command(
        "pretrain", "cifar10", "--data-root", data_root, "--steps", 3, "--batch", 64, "--out", tmp_path / "run", "--json", *SMALL
    )
    assert status == 0
    assert json.loads(out)["data"] == "cifar10"
    spec = leaven.Run(tmp_path / "run").config["asked"]["data"]["spec"]
    assert spec["samples"] == 50_000 and spec["roles"]["x"]["shape"] == [3, 32, 32]


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_idx_files_are_read_where_they_lie_and_nothing_is_written_there(name, data_root, tmp_path, monkeypatch):
    before = sorted((path, path.stat().st_mtime_ns) for path in data_root.rglob("*MNIST*/**/*"))
    monkeypatch.setenv("LEAVEN_DATA", str(data_root))
    run = leaven.pretrain(name, steps=1, batch=64, out=tmp_path / "run", settings={"encoder.width": 8})
    assert run.config["asked"]["data"]["spec"]["samples"] == 60_000
    assert before == sorted((path, path.stat().st_mtime_ns) for path in data_root.rglob("*MNIST*/**/*"))
