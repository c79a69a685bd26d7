"""A run is given again after its data, its folder or its command has changed: it goes on to the bit, or one line says what differs."""

import json
import os
import shutil
import signal

import numpy as np
import pytest
from PIL import Image
from test_resume import assert_identical, final_state, without_clocks

import leaven
from leaven.data import open_data
from leaven.errors import Interrupted
from leaven.run import Run

OPTIONS = {"steps": 6, "batch": 16, "settings": {"encoder.width": 8, "temperature": 0.1, "recipe.lr": 1e-3}}
WORDS = ["--steps", 6, "--batch", 16, "--set", "encoder.width=8", "--set", "temperature=0.1", "--set", "recipe.lr=0.001"]
TEXTS = [f"the {who} {does} number {number}" for number in range(8) for who in ("cat", "dog") for does in ("sees", "likes")]
OF_TEXT = {"encoder.width": 16, "encoder.depth": 1, "encoder.heads": 2, "tokenizer.vocabulary": 320, "tokenizer.max_length": 12}


def begin(data, out, stop=3, **options):
    """A training that SIGTERM stops after a step."""

    def ask_to_stop(step):
        if step == stop:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        leaven.pretrain(data, out=out, on_step=ask_to_stop, report=False, **options)


def picture(path, level):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full((12, 12, 3), level, np.uint8)).save(path)


def contents(folder):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Pictures, a run on them that was stopped after 3 of 6 steps, and the same run whole."""
    folder = tmp_path_factory.mktemp("original")
    noise = np.random.default_rng(0)
    for number in range(36):
        path = folder / "pictures" / ["blue", "green", "red"][number % 3] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 255, (12, 12, 3), dtype=np.uint8)).save(path)
    (folder / "texts.txt").write_text("\n".join(TEXTS))
    begin(folder / "pictures", folder / "run", **OPTIONS)
    leaven.pretrain(folder / "pictures", out=folder / "whole", report=False, **OPTIONS)
    return folder


@pytest.fixture
def place(original, tmp_path, monkeypatch):
    """A copy of the pictures and of the stopped run, in the current folder."""
    for name in ("pictures", "run"):
        shutil.copytree(original / name, tmp_path / name)
    shutil.copy(original / "texts.txt", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def renamed(old, new):
    return lambda place: (place / old).rename(place / new)


def touched(place):
    for path in place.rglob("*.png"):
        os.utime(path, (1, 1))


@pytest.mark.parametrize(
    ("data", "change"),
    [
        ("pictures", lambda place: None),
        ("pictures/", touched),
        ("./pictures", lambda place: (place / "pictures" / "red" / "broken.png").write_text("no picture")),
        ("pictures", renamed("pictures/red/02.png", "pictures/red/02 (copy).png")),
        ("photos", renamed("pictures", "photos")),
        ("link", lambda place: (place / "link").symlink_to("pictures")),
    ],
    ids=["unchanged", "touched", "a broken file more", "a file renamed", "the folder renamed", "through a link"],
)
def test_the_same_contents_go_on_to_the_bit_wherever_they_lie(original, place, data, change, command):
    change(place)
    status, _, err = command("pretrain", data, "--out", "run", *WORDS)
    assert status == 0 and "going on from step 3" in err
    whole, run = Run(original / "whole"), Run(place / "run")
    assert without_clocks(whole) == without_clocks(run)
    assert_identical(final_state(whole), final_state(run))


@pytest.mark.parametrize(
    "words",
    [
        [*WORDS[:4], *WORDS[8:], *WORDS[6:8], *WORDS[4:6]],
        ["--steps", "6", "--batch", "16", "--set", "recipe.lr=1e-3", *WORDS[4:6], "--set", "temperature=.10"],
    ],
    ids=["in another order", "written otherwise"],
)
def test_options_mean_the_same_in_any_order_and_spelling(place, words, command):
    assert "going on from step 3" in command("pretrain", "pictures", "--out", "run", *words)[2]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda place: picture(place / "pictures" / "red" / "99.png", 7), "36 samples then, 37 now, 36 of them the same"),
        (lambda place: (place / "pictures" / "red" / "02.png").unlink(), "36 samples then, 35 now, 35 of them the same"),
        (lambda place: picture(place / "pictures" / "red" / "02.png", 7), "36 samples then, 36 now, 35 of them the same"),
        (renamed("pictures/red/02.png", "pictures/red/99.png"), "the same 36 samples come in another order"),
        (renamed("pictures/red", "pictures/rot"), "the same 36 samples, but data.spec.class_names.2 was red and is now rot"),
        (lambda place: picture(place / "pictures" / "tan" / "99.png", 7), "36 samples then, 37 now, 36 of them the same"),
    ],
    ids=["added", "removed", "changed", "in another order", "a class renamed", "a class more"],
)
def test_other_data_is_told_in_one_line_and_goes_on_where_it_is_accepted(place, change, told, command):
    change(place)
    before = contents(place / "run")
    status, out, err = command("pretrain", "pictures", "--out", "run", *WORDS)
    last = err.strip().splitlines()[-1]
    assert (status, out) == (2, "") and told in last and "--accept-data" in last
    assert contents(place / "run") == before
    status, _, err = command("pretrain", "pictures", "--out", "run", "--accept-data", *WORDS)
    assert status == 0 and "going on from step 3" in err
    assert "already finished" in command("pretrain", "pictures", "--out", "run", *WORDS)[2]  # what was accepted is the run's data now


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--steps", 9, *WORDS[2:]], "length.steps was 6 and is now 9"),
        (["--epochs", 2, *WORDS[2:]], "length.steps was 6 and is now none"),
        ([*WORDS[:2], "--batch", 8, *WORDS[4:]], "length.batch was 16 and is now 8"),
        ([*WORDS[:6], *WORDS[8:], "--method", "byol"], "method.name was simclr and is now byol"),
        ([*WORDS[:4], *WORDS[6:], "--encoder", "vit"], "encoder.encoder.name was convnet and is now vit"),
        ([*WORDS, "--seed", 1], "seed was 0 and is now 1"),
        ([*WORDS, "--precision", "fp64"], "and is now fp64"),
        ([*WORDS, "--size", 8], "views.size was none and is now 8"),
    ],
)
def test_another_training_is_refused_with_its_first_difference(place, words, told, command):
    before = contents(place / "run")
    status, out, err = command("pretrain", "pictures", "--out", "run", *words, "--accept-data")
    last = err.strip().splitlines()[-1]
    assert (status, out) == (2, "") and told in last and "choose another --out" in last
    assert contents(place / "run") == before


def test_a_longer_training_may_start_from_a_finished_one(original, place, command):
    shutil.copytree(original / "whole", place / "whole")
    err = command("pretrain", "pictures", "--out", "whole", "--steps", 9, *WORDS[2:])[2]
    assert "length.steps was 6 and is now 9" in err and "--encoder whole" in err
    words = ["--steps", 3, "--batch", 16, "--encoder", "whole"]
    assert command("pretrain", "pictures", "--out", "longer", *words)[0] == 0
    (place / "whole").rename(place / "elsewhere")
    assert "already finished" in command("pretrain", "pictures", "--out", "longer", *words[:-1], "elsewhere")[2]


def test_a_copied_run_goes_on_without_touching_the_original(place, command):
    shutil.copytree(place / "run", place / "far" / "copy")
    before = contents(place / "run")
    assert "going on from step 3" in command("pretrain", "pictures", "--out", "far/copy", *WORDS)[2]
    assert contents(place / "run") == before
    assert Run(place / "far" / "copy").finished


@pytest.mark.parametrize(
    "options",
    [
        {"steps": np.int64(6), "batch": 16.0, "seed": np.int64(0), "settings": {name: str(value) for name, value in OPTIONS["settings"].items()}},
        {"steps": "6", "batch": "16", "settings": dict(reversed(OPTIONS["settings"].items()))},
    ],
    ids=["numbers of numpy", "texts"],
)
@pytest.mark.parametrize("opened", [str, open_data], ids=["a path", "a data set"])
def test_a_call_from_python_goes_on_whatever_the_types_of_its_arguments(place, options, opened):
    lines = []
    leaven.pretrain(opened(place / "pictures"), out=place / "run", report=False, say=lines.append, **options)
    assert "going on from step 3" in lines


@pytest.mark.parametrize("kind", [int, str])
def test_settings_of_a_tokenizer_are_the_same_from_python_and_from_the_command(place, kind, command):
    of_text = {"method": "simcse", "encoder": "transformer", "steps": 4, "batch": 8}
    begin("texts.txt", "words", stop=2, settings={name: kind(value) for name, value in OF_TEXT.items()}, **of_text)
    words = [word for name, value in of_text.items() for word in (f"--{name}", value)]
    words += [word for name, value in reversed(OF_TEXT.items()) for word in ("--set", f"{name}={value}")]
    with open("texts.txt", "a") as file:
        file.write("\na bird flies over")
    status, _, err = command("pretrain", "texts.txt", "--out", "words", *words)
    assert status == 2 and "32 samples then, 33 now, 32 of them the same" in err
    assert "going on from step 2" in command("pretrain", "texts.txt", "--out", "words", "--accept-data", *words)[2]


def test_a_run_of_an_earlier_version_still_goes_on(place, command):
    begin("texts.txt", "words", stop=2, method="simcse", encoder="transformer", steps=4, batch=8, settings=OF_TEXT)
    config = json.loads((place / "words" / "config.json").read_text())
    config["asked"]["tokenizer"] = {"vocabulary": "320", "longest": "12"}
    (place / "words" / "config.json").write_text(json.dumps(config))
    (place / "words" / "checkpoint" / "samples.safetensors").unlink()
    with open("texts.txt", "a") as file:
        file.write("\na bird flies over")
    words = [word for name, value in OF_TEXT.items() for word in ("--set", f"{name}={value}")]
    words += ["--method", "simcse", "--encoder", "transformer", "--steps", 4, "--batch", 8, "--out", "words"]
    assert "data.spec.samples was 32 and is now " in command("pretrain", "texts.txt", *words)[2]
    assert "going on from step 2" in command("pretrain", "texts.txt", *words, "--accept-data")[2]


def test_a_run_without_a_step_leaves_no_tokenizer_to_the_next(place):
    def end(line):
        if line.startswith("tokeniser"):
            raise KeyboardInterrupt

    options = {"method": "simcse", "encoder": "transformer", "steps": 1, "batch": 8, "out": "words", "report": False}
    with pytest.raises(KeyboardInterrupt):
        leaven.pretrain(TEXTS, settings=OF_TEXT, say=end, **options)
    run = leaven.pretrain(TEXTS, settings={**OF_TEXT, "tokenizer.max_length": 9}, **options)
    assert run.config["asked"]["encoder"]["encoder"]["input"]["shape"] == [9]


def test_a_batch_that_followed_from_the_data_stays_when_more_data_is_accepted(place, command):
    begin("pictures", "small", steps=6, settings=OPTIONS["settings"])
    words = ["pretrain", "pictures", "--out", "small", "--steps", 6, *WORDS[4:]]
    picture(place / "pictures" / "red" / "99.png", 7)
    assert "36 samples then, 37 now" in command(*words)[2]
    assert command(*words, "--accept-data")[0] == 0
    assert Run("small").config["plan"]["batch"] == 36


def test_a_method_that_remembers_each_sample_says_that_its_data_cannot_change(place, command):
    begin("pictures", "bank", method="npid", **OPTIONS)
    picture(place / "pictures" / "red" / "99.png", 7)
    before = contents(place / "bank")
    status, _, err = command("pretrain", "pictures", "--out", "bank", "--method", "npid", "--accept-data", *WORDS)
    assert status == 2 and "npid remembers each sample" in err.splitlines()[-1]
    assert contents(place / "bank") == before


def test_a_classifier_keeps_to_the_labels_that_its_record_names(original, place, command):
    words = ["finetune", original / "whole", "pictures", "--out", "classifier", "--steps", 2, "--batch", 8, "--all-labels"]
    assert command(*words)[0] == 0
    assert "already finished" in command(*words)[2]
    assert "labels.learned was 36" in command(*words[:-1], "--keep-labels")[2]
    picture(place / "pictures" / "red" / "99.png", 7)
    status, _, err = command(*words, "--accept-data")
    assert status == 2 and "36 samples then, 37 now" in err and "choose another --out" in err


def test_a_method_of_the_users_own_goes_on_when_its_file_has_moved(place, command):
    (place / "here").mkdir()
    (place / "here" / "mine.py").write_text("from leaven.methods.contrastive.simclr import SimCLR\n\nclass Mine(SimCLR): ...\n")
    begin("pictures", "own", method="here/mine.py:Mine", **OPTIONS)
    (place / "here").rename(place / "there")
    status, _, err = command("pretrain", "pictures", "--out", "own", "--method", "there/mine.py:Mine", *WORDS)
    assert status == 0 and "going on from step 3" in err


@pytest.mark.parametrize(
    "words",
    [["evaluate", "--protocol", "knn"], ["embed", "--out", "v.npy"], ["finetune", "--out", "classifier", "--steps", 1, "--batch", 8]],
    ids=lambda words: words[0],
)
def test_a_run_whose_data_is_gone_serves_other_data(original, place, words, command):
    run = shutil.copytree(original / "whole", place / "whole")
    (place / "pictures").rename(place / "others")
    status, _, err = command(words[0], run, "pictures", *words[1:])
    assert status == 2 and "pictures" in err.splitlines()[-1]
    assert command(words[0], run, "others", *words[1:])[0] == 0
