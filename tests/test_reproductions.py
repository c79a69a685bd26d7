"""Claims are checked by a rule that was written before, from trainings that are kept and never made twice."""

import dataclasses
import html
import json

import numpy as np
import pytest
import torch
from small import sounds

import leaven
from leaven.cli import completion
from leaven.data import open_data
from leaven.errors import TrainingStopped, UserError
from leaven.evaluation.results import difference
from leaven.experiments import grid, process
from leaven.experiments.claim import FAILS, HOLDS, UNDECIDED, Arm, Claim, Findings, Outcome, few_per_class, sign, verdict_of
from leaven.experiments.claims import augmentation_pairs
from leaven.experiments.reproduction import claims, slug, thinned

SIDE = 16


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """Trainings in this process: starting one takes seconds, and test_compare starts enough of them."""
    monkeypatch.setattr(grid, "run_in_process", lambda function, arguments, family, **speaking: function(**arguments, **speaking))


@pytest.fixture(scope="module")
def coloured():
    """Pictures whose class is their colour, with a test split."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(640) % 3
    noise = torch.randint(100, (640, 3, SIDE, SIDE), generator=generator)
    return (noise + 150 * torch.eye(3, dtype=torch.int64)[labels][:, :, None, None]).to(torch.uint8), labels


@pytest.fixture(scope="module")
def samples(coloured):
    return open_data(coloured)


class Small(Claim):
    says = "Longer is better."
    source = "nobody"
    rule = "Holds if it is."
    steps = 2
    batch = 16
    seeds = 2

    def arms(self):
        narrow = {"encoder.width": 4, "encoder.features": 8}
        return {"short": Arm("simclr", narrow, steps=1), "long": Arm("simclr", narrow, steps=3)}

    def decide(self, findings: Findings):
        return Outcome(verdict_of(findings.gain("long", "short")), findings.contrast("long", "short"))


@pytest.mark.parametrize("name", claims())
def test_every_claim_says_what_it_is_and_by_which_rule(name):
    listed = {claim["name"]: claim for claim in leaven.list_claims()}[name]
    assert listed["says"].endswith(".") and listed["rule"].endswith(".") and "Holds if" in listed["rule"]
    assert any(character.isdigit() for character in listed["source"]), "a source has a year"
    assert listed["minutes"] <= 30 and listed["seeds"] >= 2


WORDS = [f"{who} {does} {number}" for number in range(4) for who in ("a cat", "the dog") for does in ("sees", "hears", "likes")]
PAIRS = {"a": WORDS, "b": WORDS[::-1], "score": [float(row % 6) for row in range(24)]}


def heard():
    """Sounds with a test split of their own."""
    data, rows = open_data(sounds(96)), torch.arange(96)
    return dataclasses.replace(data, splits={"train": rows[:64], "test": rows[64:]})


LEARN_LABELS = ("freezing-depth", "longer-and-bigger")


def divided(samples):
    """Pictures with a test split of their own, which supervised learning does not see."""
    data, rows = open_data(samples), torch.arange(640)
    return dataclasses.replace(data, splits={"train": rows[:480], "test": rows[480:]})


@pytest.mark.parametrize("name", claims())
def test_every_claim_runs_and_comes_to_a_verdict(name, coloured, tmp_path, monkeypatch):
    monkeypatch.setattr(augmentation_pairs, "NAMES", ("crop", "colour"))
    monkeypatch.setattr(claims()[name], "batch", 16)
    monkeypatch.setattr(claims()[name], "floor_seconds", 60.0)
    monkeypatch.setattr("leaven.evaluation.protocols.few_label.FLOOR_STEPS", 2)
    monkeypatch.setattr(claims()[name], "protocol_settings", dict.fromkeys(claims()[name].protocol_settings, (1,)))
    monkeypatch.setattr("leaven.experiments.claims.freezing_depth.TUNED", 2)
    for counts in ("FEW", "COUNTS"):
        monkeypatch.setattr(f"leaven.experiments.claims.{name.replace('-', '_')}.{counts}", (1,), raising=False)
    captions = [f"a {('red', 'green', 'blue')[label]} picture" for label in coloured[1]]
    pairs = {"image": coloured[0], "text": captions, "label": coloured[1]}
    words = {"text": WORDS, "meaning": WORDS[::-1]}
    kinds = {"demo:shapes": pairs, "stsb": PAIRS, "fsdd": sounds(96), "speech-commands": heard(), "e2e-nlg": words}
    data = divided(coloured) if name in LEARN_LABELS else kinds.get(claims()[name].data, coloured)
    found = leaven.reproduce(name, data=data, out=tmp_path / "out", seeds=1, steps=1)
    assert found["verdict"] in {HOLDS, FAILS, UNDECIDED} and found["because"].endswith(".")
    assert json.loads((tmp_path / "out" / "reproduction.json").read_text()) == json.loads(json.dumps(found))
    page = (tmp_path / "out" / "report.html").read_text()
    words = html.unescape(page).replace("\xa0", " ")
    assert found["verdict"] in words and found["because"] in words and 'class="figure"' in page


def test_made_predicts_from_what_comes_before_and_the_claim_sees_that(tmp_path):
    pictures = torch.randint(2, (400, 1, SIDE, SIDE), generator=torch.Generator().manual_seed(0)).float()
    found = leaven.reproduce("made-orders", data=(pictures, torch.arange(400) % 2), out=tmp_path / "out", seeds=1, steps=1)
    assert found["verdict"] == HOLDS


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ([[0.1, 0.11]], HOLDS),
        ([[0.1, 0.11], [-0.1, 0.1]], UNDECIDED),
        ([[0.1, 0.11], [-0.1, -0.11]], FAILS),
        ([[-0.1, 0.1]], UNDECIDED),
        ([[0.1]], UNDECIDED),
    ],
)
def test_a_rule_needs_whole_intervals_over_seeds_on_one_side_of_zero(gains, verdict):
    pairs = [difference([({"accuracy": 0.5 + gain}, {"accuracy": 0.5}) for gain in seeds]) for seeds in gains]
    assert verdict_of(*pairs) == verdict
    assert sign(difference([({"accuracy": 0.7}, {"accuracy": 0.5})])) == 0


def test_a_reproduction_trains_each_arm_and_seed_once_and_goes_on(samples, tmp_path):
    lines = []
    first = leaven.reproduce(Small, data=samples, out=tmp_path / "out", say=lines.append)
    assert any(line.startswith("[1/4] short, seed 0: nearest neighbours ") for line in lines)
    assert len(first["scores"]["long"]["knn"]["seeds"]) == 2
    weights = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("model.safetensors")}
    (tmp_path / "out" / "long" / "1" / "scorecard.json").unlink()
    for mark in (tmp_path / "out").rglob("cell.json"):  # reproductions of earlier versions had none
        mark.unlink()
    again = leaven.reproduce(Small, data=samples, out=tmp_path / "out")
    assert {key: again[key] for key in ("verdict", "scores", "because")} == {key: first[key] for key in ("verdict", "scores", "because")}
    assert weights == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("model.safetensors")} and len(weights) == 4


def test_each_training_of_a_claim_has_a_process_of_its_own_several_at_a_time(samples, tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "run_in_process", process.run_in_process)
    result = leaven.reproduce(Small, data=samples, out=tmp_path / "out", seeds=1, jobs=2)
    assert all(0 <= result["scores"][arm]["knn"]["accuracy"] <= 1 for arm in ("short", "long"))
    assert any("2 trainings ran side by side" in note for note in result["notes"])


def test_a_rule_is_not_applied_where_a_training_stopped_itself(samples, tmp_path):
    class Diverging(Small):
        def arms(self):
            return {"short": Arm("simclr", {"encoder.width": 4, "recipe.lr": 1e30}, steps=9)}

    for _ in range(2):  # it is not trained again
        with pytest.raises(TrainingStopped, match=r"non-finite loss at step \d+: .* \(short, seed 0\)"):
            leaven.reproduce(Diverging, data=samples, out=tmp_path / "out", seeds=1)
    assert not (tmp_path / "out" / "reproduction.json").exists()


class Measured(Small):
    """It scores nothing, and measures of each training, and of what needs none, how many steps it took."""

    protocols = ()

    def open(self, root):
        return torch.arange(64.0)[:, None], torch.arange(64) % 2

    def arms(self):
        return {"short": Arm("simclr", steps=1), "long": Arm("simclr", steps=3)}

    def measure(self, runs, samples, seed):
        asked.append(seed)
        return {**{arm: {"steps": run.config["result"]["steps"] + seed} for arm, run in runs.items()}, "none": {"steps": 0}}

    def decide(self, findings):
        gap = findings.gain("long", "short", "steps")
        return Outcome(verdict_of(gap), f"{gap['mean']} more, {findings.number('none', 'steps')['interval']}.")


asked = []


def test_a_claim_may_measure_on_its_trainings_what_no_protocol_does(tmp_path):
    told = []
    found = leaven.reproduce(Measured, out=tmp_path / "out", say=told.append)
    assert found["verdict"] == HOLDS and found["because"] == "2.0 more, [0.0, 0.0]."
    assert found["measures"]["long"]["steps"]["mean"] == 3.5 and found["measures"]["long"]["steps"]["seeds"] == [3, 4]
    assert found["measures"]["none"]["steps"]["mean"] == 0 and found["scores"] == {"short": {}, "long": {}}
    assert "long, seed 1: steps 4" in told
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<td>3.5<small>" in page and "none" in page and "accuracy" not in page
    assert leaven.reproduce(Measured, out=tmp_path / "out") == found
    assert asked == [0, 1]  # once for each seed


def test_an_arm_may_see_few_samples_of_each_class_drawn_anew_for_each_seed(samples, tmp_path):
    rows = {seed: few_per_class(samples, 5, seed) for seed in range(2)}
    for drawn in rows.values():
        assert samples.rows.label[drawn].bincount().tolist() == [5, 5, 5] and torch.isin(drawn, samples.train()).all()
    assert not torch.equal(rows[0], rows[1]) and torch.equal(rows[0], few_per_class(samples, 5, 0))
    assert len(few_per_class(samples, 10**6, 0)) == len(samples.train())

    class Few(Small):
        def arms(self):
            narrow = {"encoder.width": 4, "encoder.features": 8}
            return {name: Arm("simclr", narrow, per_class=count) for name, count in (("short", 6), ("long", None))}

    leaven.reproduce(Few, data=samples, out=tmp_path / "out", seeds=1)
    seen = [leaven.Run.open(tmp_path / "out" / arm / "0").config["asked"]["data"]["spec"]["samples"] for arm in ("short", "long")]
    assert seen == [18, len(samples.train())]


def test_another_reproduction_in_the_same_folder_is_refused_and_more_seeds_are_not(samples, tmp_path):
    leaven.reproduce(Small, data=samples, out=tmp_path / "out", seeds=1)
    with pytest.raises(UserError, match="another reproduction: steps was 2 and is now 5"):
        leaven.reproduce(Small, data=samples, out=tmp_path / "out", seeds=1, steps=5)
    assert leaven.reproduce(Small, data=samples, out=tmp_path / "out", seeds=2)["seeds"] == 2


def test_large_data_is_thinned_to_the_same_samples_each_time_with_splits_kept_apart(samples):
    once, twice = (samples.subset(thinned(samples, 40, 10)) for _ in range(2))
    assert once.fingerprint == twice.fingerprint and len(once) == 50
    assert thinned(samples, 1000, 1000) is None
    learned, scored, _, _ = samples.held_out()
    assert torch.isin(once.hashes, samples.hashes[learned]).sum() == 40 and torch.isin(once.hashes, samples.hashes[scored]).sum() == 10


def test_reproduce_and_claims_on_the_command_line(command, tmp_path, coloured):
    assert completion.claim_names() == list(claims())
    status, out, _ = command("claims", "--json")
    assert status == 0 and {claim["name"] for claim in json.loads(out)} == set(claims())
    status, _, err = command("reproduce", "masking-ration")
    assert status == 2 and "did you mean masking-ratio" in err and err.count("\n") == 1
    status, _, err = command("reproduce", "masking-ratio", "--data", tmp_path / "nothing")
    assert status == 2 and err.count("\n") == 1
    np.savez(tmp_path / "coloured.npz", x=coloured[0], y=coloured[1])
    words = ("--data", tmp_path / "coloured.npz", "--steps", 1, "--seeds", 1, "--out", tmp_path / "out", "--json")
    status, out, err = command("reproduce", "masking-ratio", *words)
    assert status == 0 and json.loads(out)["verdict"] == UNDECIDED
    assert "The rule: Holds if" in err


def test_a_name_becomes_a_folder():
    assert slug("SimCLR, batch 256") == "simclr-batch-256"
