"""A training that is killed at any moment goes on, to the bit."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import test_contract
import torch
from safetensors.torch import load_file
from small import BEGINNING, digits_for, few_of_each_family, small_settings

import leaven
from leaven.errors import Interrupted
from leaven.run import Run
from leaven.training.checkpoint import Checkpoints, load_state, save_state
from leaven.training.plan import Plan


def without_clocks(run):
    return [{key: value for key, value in row.items() if key != "clock"} for row in run.metrics]


def final_state(run):
    state = Checkpoints(run.checkpoints).load()
    state.pop("times")
    return state


def assert_identical(a, b, path=""):
    assert type(a) is type(b), path
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            assert_identical(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        for place, pair in enumerate(zip(a, b, strict=True)):
            assert_identical(*pair, f"{path}.{place}")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    else:
        assert a == b, path


class Killed(Exception):
    """Stands for the power cut: nothing is written when it is raised."""


def pretrain_with_cuts(cuts, **arguments):
    """Run the same command until it ends, cutting it off when these steps are done and not yet in a checkpoint."""
    cuts = list(cuts)

    def cut(step):
        if cuts and step >= cuts[0]:
            cuts.pop(0)
            raise Killed

    while True:
        try:
            run = leaven.pretrain(checkpoint_seconds=0.0, on_step=cut, **arguments)
            break
        except Killed:
            pass
    assert not cuts
    return run


@pytest.mark.parametrize("name", few_of_each_family([*BEGINNING, "PointGAN", "RBMStack", "DigitClusters"]))
def test_a_cut_off_training_ends_as_if_nothing_had_happened(name, tmp_path):
    method = getattr(test_contract, name, name)
    data = torch.randn(128, 2, generator=torch.Generator().manual_seed(0)) if name == "PointGAN" else "demo:digits"
    data = digits_for(name) if name in BEGINNING else data
    settings = small_settings(name) if name in BEGINNING else {}
    arguments = {"data": data, "method": method, "steps": 12, "batch": 64, "settings": settings, "keep_going": True}
    whole = leaven.pretrain(out=tmp_path / "whole", **arguments)
    cut = pretrain_with_cuts([3, 4, 9], out=tmp_path / "cut", **arguments)
    assert without_clocks(whole) == without_clocks(cut)
    assert_identical(final_state(whole), final_state(cut))


def test_a_checkpoint_cut_in_half_is_passed_over_for_the_one_before(tmp_path):
    arguments = {"data": "demo:digits", "steps": 10, "batch": 64, "settings": small_settings("simclr")}
    whole = leaven.pretrain(out=tmp_path / "whole", **arguments)

    def cut(step):
        if step == 6:
            raise Killed

    with pytest.raises(Killed):
        leaven.pretrain(out=tmp_path / "cut", checkpoint_seconds=0.0, on_step=cut, **arguments)
    newest = Checkpoints(tmp_path / "cut" / "checkpoint").files()[-1]
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    again = leaven.pretrain(out=tmp_path / "cut", **arguments)
    assert without_clocks(whole) == without_clocks(again)


def test_sigterm_writes_a_checkpoint_and_the_same_call_goes_on(tmp_path):
    def ask_to_stop(step):
        if step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    arguments = {"data": "demo:digits", "steps": 8, "batch": 64, "settings": small_settings("simclr")}
    with pytest.raises(Interrupted):
        leaven.pretrain(out=tmp_path / "run", on_step=ask_to_stop, **arguments)
    assert Checkpoints(tmp_path / "run" / "checkpoint").load()["step"] == 5
    said = []
    run = leaven.pretrain(out=tmp_path / "run", say=said.append, **arguments)
    assert "going on from step 5" in said
    assert run.config["result"]["steps"] == 8


def test_a_finished_run_is_not_trained_again(tmp_path):
    arguments = {"data": "demo:digits", "steps": 2, "batch": 64, "settings": small_settings("simclr"), "out": tmp_path / "run"}
    leaven.pretrain(**arguments)
    before = (tmp_path / "run" / "metrics.jsonl").read_text()
    said = []
    leaven.pretrain(**arguments, say=said.append)
    assert any("already finished" in line for line in said)
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 1}, "seed was 0 and is now 1"),
        ({"settings": {"temperature": 0.5, "encoder.width": 8}}, "temperature was 0.2 and is now 0.5"),
        ({"batch": 32}, "batch was 64"),
    ],
)
def test_another_configuration_is_refused_with_the_difference(change, told, tmp_path):
    arguments = {"data": "demo:digits", "steps": 2, "batch": 64, "settings": small_settings("simclr"), "out": tmp_path / "run"}
    leaven.pretrain(**arguments)
    with pytest.raises(leaven.UserError, match=told):
        leaven.pretrain(**{**arguments, **change})


def test_changed_data_is_refused_unless_accepted(tmp_path):
    points = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    arguments = {"steps": 2, "batch": 32, "out": tmp_path / "run"}
    leaven.pretrain(points, **arguments)
    with pytest.raises(leaven.UserError, match="data has changed"):
        leaven.pretrain(points + 1, **arguments)
    leaven.pretrain(points + 1, accept_data=True, **arguments)


def test_a_newer_format_is_refused_by_name(tmp_path):
    leaven.pretrain(torch.randn(64, 3), steps=1, batch=32, out=tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps({**config, "format": 2}))
    with pytest.raises(leaven.UserError, match="format 2"):
        Run.open(tmp_path / "run")


def test_a_state_survives_the_disk_with_shared_tensors_and_plain_values(tmp_path):
    weight = torch.randn(3, 4)
    state = {"a": weight, "b": {"same": weight, 0: (1, 2.5, None, "x")}, "c": [torch.zeros(0), True]}
    save_state(tmp_path / "state.safetensors", state)
    back = load_state(tmp_path / "state.safetensors")
    assert torch.equal(back["a"], weight) and back["b"]["same"] is back["a"]
    assert back["b"][0] == (1, 2.5, None, "x") and back["c"][1] is True


def test_a_pickle_named_as_a_checkpoint_is_not_read(tmp_path):
    path = tmp_path / "step-000000001.safetensors"
    torch.save({"a": 1}, path)
    with pytest.raises(leaven.UserError, match="not a whole checkpoint"):
        load_state(path)


def test_progress_is_continuous_over_a_change_of_length():
    plan = Plan(100, 32)
    before = plan.progress(40)
    plan.changes.append((40, 70))
    assert plan.progress(40) == before == 0.4
    assert plan.progress(55) == pytest.approx(0.7)
    assert plan.progress(70) == 1.0
    assert Plan.from_dict(plan.to_dict()).progress(55) == plan.progress(55)


def test_a_time_budget_becomes_steps_and_every_change_of_it_is_kept(tmp_path):
    begin = time.monotonic()
    run = leaven.pretrain(torch.randn(256, 8), budget=4, out=tmp_path / "run")
    assert time.monotonic() - begin < 60
    plan = Plan.from_dict(run.config["plan"])
    assert plan.steps > 1
    assert run.config["result"]["steps"] == plan.total
    assert run.metrics[-1]["progress"] == 1.0


@pytest.mark.slow
def test_kill_9_at_20_random_moments_changes_no_bit(tmp_path):
    """Children are forked from a process that has imported everything and computed nothing, so that each life costs only its training."""
    script = textwrap.dedent("""
        import os, random, signal, sys, time
        import leaven, leaven.api.pretrain, leaven.training.loop, sklearn.datasets, lightning_fabric
        out, kills = sys.argv[1], int(sys.argv[2])
        random.seed(0)
        lives = 0
        while True:
            child = os.fork()
            if child == 0:
                leaven.pretrain("demo:digits", steps=120, batch=64, settings={"encoder.width": 16}, out=out, checkpoint_seconds=0.2)
                os._exit(0)
            if lives < kills:
                time.sleep(random.uniform(0.3, 2.5))
                os.kill(child, signal.SIGKILL)
                lives += 1
            _, status = os.waitpid(child, 0)
            if os.WIFEXITED(status):
                sys.exit(os.WEXITSTATUS(status))
    """)
    for name, kills in (("whole", 0), ("killed", 20)):
        subprocess.run([sys.executable, "-c", script, str(tmp_path / name), str(kills)], check=True, timeout=900)
    whole, killed = Run(tmp_path / "whole"), Run(tmp_path / "killed")
    assert without_clocks(whole) == without_clocks(killed)
    a, b = (load_file(run.encoder_folder / "model.safetensors") for run in (whole, killed))
    assert_identical(a, b)
    assert_identical(final_state(whole), final_state(killed))
