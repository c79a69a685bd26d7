"""The command line as a shell sees it: help, completion, and progress on terminals and in pipes."""

import fcntl
import inspect
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import termios
import time

import numpy as np
import pytest
from typer.core import TyperGroup
from typer.main import get_command

import leaven
from leaven.cli import completion
from leaven.cli.app import PANELS, app, first_process
from leaven.cli.watch import Watch
from leaven.encoders import OWN
from leaven.methods.registry import registry

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


# --- options ---


def commands():
    """Those whose options are declared in the public function."""
    group = get_command(app)
    return {name: group.get_command(None, name) for name in group.list_commands(None) if name not in WRITTEN_BY_HAND}


WRITTEN_BY_HAND = ("evaluate", "compare", "reproduce", "claims")


def function_of(name):
    return getattr(leaven, name if name in leaven.__all__ else f"list_{name}")


def test_every_flag_is_a_parameter_of_the_public_function_with_its_default():
    for name, command in commands().items():
        known = inspect.signature(function_of(name)).parameters
        for parameter in command.params:
            if parameter.name in ("help", "as_json"):
                continue
            default = known[parameter.name].default
            if parameter.required:
                assert default in (inspect.Parameter.empty, None), (name, parameter.name)
            else:
                assert parameter.default == (default if default != () else None), (name, parameter.name)


def test_help_in_python_says_what_help_in_the_shell_says():
    for name, command in commands().items():
        said = " ".join((function_of(name).__doc__).split())
        for parameter in command.params:
            if parameter.name not in ("help", "as_json"):
                assert f"{parameter.name}: {' '.join(parameter.help.split())}" in said, (name, parameter.name)


@pytest.mark.parametrize("words", [["pretrain", "--help"], ["search", "--help"]])
def test_help_of_one_command_does_not_load_torch_either(words):
    found = subprocess.run([sys.executable, "-X", "importtime", "-m", "leaven.cli", *words], capture_output=True, text=True, check=True)
    assert "--device" in found.stdout and " torch" not in found.stderr


def test_option_texts_are_read_into_what_the_function_takes(command, tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr(leaven, "pretrain", lambda data, **options: given.update(options) or pytest.skip("seen"), raising=False)
    words = ["--columns", "image=file, text=name", "--set", "encoder.text.depth=2", "--set", "temperature=0.1", "--track", "wandb"]
    with pytest.raises(pytest.skip.Exception):
        command("pretrain", "x", *words, "--encoder", "image=convnet,text=transformer", "--epochs", 3)
    assert given["columns"] == {"image": "file", "text": "name"}
    assert given["settings"] == {"encoder.text.depth": "2", "temperature": "0.1"}
    assert given["encoder"] == "image=convnet,text=transformer"
    assert given["track"] == ["wandb"] and given["epochs"] == 3.0
    assert "budget" not in given and "labels" not in given  # the function's own defaults hold


@pytest.mark.parametrize("words", [["--columns", "file"], ["--columns", "image=file,name"], ["--set", "=3"]])
def test_an_option_that_cannot_be_read_is_one_line_that_names_it(command, words):
    status, out, err = command("pretrain", "demo:digits", *words)
    assert status == 2 and not out and f"{words[0]} takes name=value" in err


# --- help and completion ---


def test_every_command_stands_in_a_panel_in_the_order_of_use_with_a_line_of_help(command):
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    names = [name for panel in PANELS.values() for name in panel]
    assert group.list_commands(None) == names
    status, out, _ = command("--help")
    assert status == 0
    places = [out.index(f"─ {panel} ─") for panel in PANELS] + [out.index(f"│ {name} ") for name in ("methods", "encoders")]
    assert places == sorted(places)
    assert all(group.get_command(None, name).help.strip().endswith(".") for name in names)


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_help_is_what_a_bare_command_shows(words, command):
    status, out, err = command(*words)
    assert (status, err) == (0, "")
    assert "Usage: leaven [OPTIONS] COMMAND" in out and "--version" in out


def test_the_version_is_told(command):
    assert command("--version") == (0, f"leaven {leaven.__version__}\n", "")


def completed(line, shell="zsh"):
    """What a shell is offered for the last word of a line, and what Python loaded for it."""
    environment = {**os.environ, "_LEAVEN_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    environment |= {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    run = [sys.executable, "-X", "importtime", "-c", "import leaven.cli; leaven.cli.main()"]
    found = subprocess.run(run, env=environment, capture_output=True, text=True)
    return found.stdout, found.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_values_are_completed_without_loading_torch(shell):
    offered, loaded = completed("leaven pretrain x --method s", shell)
    assert "simclr" in offered and "supervised" in offered and "byol" not in offered
    assert not re.search(r"\| +(torch|numpy)$", loaded, re.MULTILINE)


def test_the_names_that_completion_finds_are_those_that_there_are(tmp_path, monkeypatch):
    assert completion.method_names() == list(registry())
    assert completion.encoder_names() == sorted(name for name, encoder in OWN.items() if encoder.__module__.startswith("leaven."))
    monkeypatch.delenv("LEAVEN_DATA", raising=False)
    assert completion.data_names() == ["demo:digits", "demo:shapes"]
    (tmp_path / "cifar10").mkdir()
    monkeypatch.setenv("LEAVEN_DATA", str(tmp_path))
    assert completion.data("cif") == ["cifar10"]
    assert completion.data("") == []  # the shell offers files


def test_the_last_of_several_names_is_completed_without_those_already_given():
    complete = completion.some_of("knn", "linear", "few-label")
    assert complete("l") == ["linear"]
    assert complete("linear,") == ["linear,knn", "linear,few-label"]
    assert complete("linear,k") == ["linear,knn"]


# --- progress ---


def work(watch, total=40):
    """Two tasks with lines between them."""
    watch.say("begin")
    for done in range(total + 1):
        watch("decoded", done, total)
    watch.say("between")
    for step in range(1, total + 1):
        watch("step", step, total, 1 / step)
    watch.say("end")


def test_in_a_pipe_progress_is_plain_lines_with_rate_and_time_left(capsys, monkeypatch):
    clock = iter(np.arange(0, 1000, 0.5))
    monkeypatch.setattr("leaven.cli.watch.time.monotonic", lambda: next(clock))
    with Watch(every=5.0) as watch:
        work(watch)
    out, err = capsys.readouterr()
    assert out == "" and "\x1b" not in err
    lines = err.splitlines()
    assert lines[0] == "begin" and lines[-1] == "end"
    assert "decoded 11/40  2.0/s  14 s left" in lines
    assert any(re.fullmatch(r"step 12/40  loss 0\.0833  2\.0/s  14 s left", line) for line in lines)
    assert len([line for line in lines if line.startswith("decoded")]) == 3


class Terminal:
    """A pseudo-terminal in the place of standard error."""

    def __init__(self, monkeypatch, **environment):
        self.ours, theirs = os.openpty()
        self.resize(80)
        self.stream = os.fdopen(theirs, "w", encoding="utf-8")
        for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_INTERACTIVE", "TTY_COMPATIBLE", "CI"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"TERM": "xterm-256color", **environment}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "stderr", self.stream)

    def resize(self, columns):
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def read(self):
        """Everything that was written so far."""
        self.stream.flush()
        os.set_blocking(self.ours, False)
        found = b""
        while True:
            try:
                found += os.read(self.ours, 65536)
            except BlockingIOError:
                return found.decode()


def test_on_a_terminal_a_short_bar_leaves_nothing_but_the_lines(monkeypatch):
    terminal = Terminal(monkeypatch)
    with Watch() as watch:
        work(watch)
        shown = terminal.read()
    shown += terminal.read()
    assert "step" in shown and "loss" in shown and "━" in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 2  # the cursor comes back after each task
    visible = [line for line in re.split(r"[\r\n]+", CONTROL.sub("", shown.split("\x1b[?25h")[-1])) if line.strip()]
    assert visible == ["end"]


STEPPING = """
import time
from leaven.cli.watch import Watch

with Watch() as watch:
    for step in range(1, 2000):
        watch("step", step, 2000, 0.5)
        time.sleep(0.02)
"""


def test_a_bar_follows_the_width_of_its_terminal(monkeypatch):
    terminal = Terminal(monkeypatch)
    environment = dict(os.environ)  # without the COLUMNS that a debugger of the tests may have left behind the back of Python
    process = subprocess.Popen([sys.executable, "-c", STEPPING], stdin=terminal.stream, stderr=terminal.stream, env=environment)

    def widest(wanted):
        """Wait until every line of the bar is at most this wide."""
        for _ in range(300):
            time.sleep(0.2)
            lines = [line for line in re.split(r"[\r\n]+", CONTROL.sub("", terminal.read())) if "/2000" in line or "step" in line]
            if lines and max(map(len, lines[-3:])) in wanted:
                return True
        return False

    try:
        assert widest(range(50, 70))
        terminal.resize(30)
        assert widest(range(20, 31))
        terminal.resize(100)
        assert widest(range(50, 70))
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_a_dumb_terminal_gets_plain_lines(monkeypatch):
    terminal = Terminal(monkeypatch, TERM="dumb")
    with Watch(every=0.0) as watch:
        work(watch)
    shown = terminal.read()
    assert "\x1b" not in shown and "━" not in shown
    assert "step 40/40" in shown


def test_no_color_is_kept_to(monkeypatch):
    terminal = Terminal(monkeypatch, NO_COLOR="1")
    with Watch() as watch:
        work(watch)
        shown = terminal.read()
    assert "━" in shown
    assert not re.search(r"\x1b\[(?:\d+;)*(?:3[0-7]|38|9[0-7])(?:;\d+)*m", shown)


def test_with_json_nothing_but_one_object_reaches_standard_output(tmp_path):
    np.save(tmp_path / "points.npy", np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32))
    line = [sys.executable, "-m", "leaven.cli", "pretrain", "points.npy", "--steps", "3", "--batch", "32", "--out", "run", "--json"]
    found = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "FORCE_COLOR": "1"}, check=True)
    assert json.loads(found.stdout)["steps"] == 3
    assert "\x1b" not in found.stdout and "━" not in found.stderr


@pytest.mark.parametrize(("environment", "first"), [({}, True), ({"RANK": "0"}, True), ({"RANK": "1"}, False), ({"LOCAL_RANK": "1"}, False)])
def test_only_the_first_of_several_processes_speaks(environment, first, monkeypatch, command):
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert first_process() == first
    status, out, err = command("pretrain", "/no/such/folder", "--json")
    assert status == 2
    assert bool(out) == bool(err) == first


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """A likelihood model, a generator of classes and a classifier, which together serve every command."""
    folder = tmp_path_factory.mktemp("small")
    leaven.pretrain("demo:digits", method="conditional_gan", settings={"width": 4}, steps=2, batch=16, out=folder / "gan", report=False)
    leaven.pretrain("demo:digits", method="vae", encoder="dense", settings={"encoder.widths": (8,)}, steps=2, out=folder / "vae", report=False)
    leaven.finetune(folder / "vae", "demo:digits", steps=2, out=folder / "classifier")
    (folder / "words.txt").write_text("cat, dog\n")
    (folder / "texts.txt").write_text("a cat sat\nthe dog ran\n")
    return folder


COMMANDS = {
    "demo": ["--budget", "1s"],
    "inspect": ["demo:digits"],
    "rewrite": ["texts.txt", "--by", "words.txt", "--out", "pairs.csv"],
    "augment": ["demo:digits", "--by", "gan", "--out", "more", "--times", 1],
    "pretrain": ["demo:digits", "--steps", 1, "--out", "new", "--set", "encoder.width=8"],
    "finetune": ["vae", "demo:digits", "--steps", 1, "--out", "new"],
    "evaluate": ["vae", "demo:digits", "--protocol", "knn"],
    "compare": ["demo:digits", "--methods", "simclr", "--steps", 1, "--seeds", 1, "--out", "new"],
    "reproduce": ["no-claim"],
    "predict": ["classifier", "demo:digits", "--out", "labels.csv"],
    "embed": ["vae", "demo:digits", "--out", "vectors.npy"],
    "search": ["vae", "demo:digits", "--query", "#3"],
    "export": ["vae", "--to", "safetensors", "--out", "exported"],
    "sample": ["vae", "--count", 2, "--out", "samples.npy"],
    "score": ["vae", "demo:digits"],
    "reconstruct": ["vae", "demo:digits", "--out", "again.npy"],
    "interpolate": ["vae", "3", "5", "--data", "demo:digits", "--out", "way.npy"],
    "methods": [],
    "encoders": [],
    "protocols": [],
    "claims": [],
}


def test_every_command_is_tried():
    assert set(COMMANDS) == {name for names in PANELS.values() for name in names}


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "demo"])  # it takes half a minute, and test_cli.py runs it
def test_with_json_every_command_prints_one_value_whatever_else_is_printed(name, small_run, command, tmp_path, monkeypatch):
    shutil.copytree(small_run, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    public = name if name in leaven.__all__ else f"list_{name}"
    function = getattr(leaven, public)

    def loud(*arguments, **options):
        print("a library speaks")
        return function(*arguments, **options)

    monkeypatch.setattr(leaven, public, loud)
    status, out, err = command(name, *COMMANDS[name], "--json")
    assert "error" in json.loads(out) if name == "reproduce" else status == 0
    json.loads(out)
    assert "a library speaks" in err


@pytest.mark.parametrize("name", COMMANDS)
def test_with_json_a_wrong_option_is_one_value_too(name, command):
    status, out, err = command(name, *COMMANDS[name], "--json", "--no-such-option")
    assert status == 2 and json.loads(out)["error"]["what"] and len(err.splitlines()) == 1


@pytest.mark.parametrize("name", [name for name, words in COMMANDS.items() if "vae" in words or "classifier" in words])
def test_with_json_a_broken_run_is_one_value_too(name, small_run, command, tmp_path, monkeypatch):
    shutil.copytree(small_run, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / COMMANDS[name][0] / "config.json").write_text("{")
    status, out, err = command(name, *COMMANDS[name], "--json")
    assert status == 2 and json.loads(out)["error"]["what"] == "config.json is not whole" and "Traceback" not in err
