"""Several methods on one data set for the same time: the cells on disk, the statistics over them, the page."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from small import STEPPING, digits_for, in_tokens, small_settings

import leaven
from leaven import cli
from leaven.data import open_data
from leaven.data.batch import Batch
from leaven.errors import Interrupted, UserError
from leaven.evaluation.comparison import Comparison, magnitude
from leaven.evaluation.intervals import seeds_interval, variance_of
from leaven.evaluation.results import DIED, FINISHED, STOPPED, Cell, difference, over_seeds
from leaven.experiments import grid
from leaven.experiments.cell import Scoring, Source, pace, train_and_score
from leaven.experiments.entries import entries
from leaven.experiments.process import Died, Family, run_in_process
from leaven.methods.registry import registry
from leaven.modalities import Vector
from leaven.run import Run
from leaven.training.build import build_training
from leaven.training.checkpoint import Checkpoints
from leaven.training.request import Request
from leaven.training.step import flops_a_step

GENERATOR = torch.Generator().manual_seed(0)
CLASSES = torch.randint(3, (240,), generator=GENERATOR)
POINTS = torch.eye(3)[CLASSES] * 3 + torch.randn(240, 3, generator=GENERATOR)
SMALL = {"recipe.batch": 64, "encoder.width": 16}


def score(accuracy, spread=0.02):
    return {"accuracy": accuracy, "interval": [accuracy - spread, accuracy + spread]}


def cell(method, seed, accuracy, fresh=0.5, spread=0.02, **more):
    scores, floors = {"linear": score(accuracy, spread)}, {"input": {"linear": score(0.4)}, "untrained": {"linear": score(fresh)}}
    cost = {"steps": 10, "seconds": 2.0, "samples_per_second": 50.0, "cpu_seconds": 3.0, "peak_memory": 10**9, "flops_per_second": 2e9}
    values = {"encoder": "convnet", "scores": scores, "floors": floors, "time_split": {"views": 1.0, "data": 1.0}, **cost, **more}
    return Cell(method, seed, FINISHED, Run(f"{method}/{seed}"), **values)


def comparison(cells, seeds=3, **more):
    return Comparison("out", "digits", ("linear",), {"steps": 10}, seeds, cells, **more)


# --- statistics ---


def test_scores_over_seeds_are_means_with_intervals_over_seeds_and_test_samples():
    accuracies = [0.7, 0.72, 0.77]
    found = comparison([cell("a", seed, accuracy) for seed, accuracy in enumerate(accuracies)]).scores("a")["linear"]
    assert found["accuracy"] == pytest.approx(np.mean(accuracies))
    assert found["interval"] == pytest.approx(seeds_interval(accuracies, over_samples=variance_of(score(0.7)["interval"])))
    assert found["interval"][0] < seeds_interval(accuracies)[0]
    assert (found["interval_over"], found["seeds"]) == ("seeds and test samples", accuracies)


def test_one_seed_and_what_seeds_do_not_change_keep_the_interval_over_samples():
    alone = over_seeds([{"linear": score(0.7)}])["linear"]
    same = over_seeds([{"linear": score(0.4)}] * 3)["linear"]
    assert alone["interval"] == score(0.7)["interval"] and same["interval"] == score(0.4)["interval"]
    assert alone["interval_over"] == same["interval_over"] == "test samples"


def test_a_gain_is_paired_over_seeds():
    cells = [cell("a", seed, 0.5 + fresh, fresh=fresh) for seed, fresh in enumerate((0.1, 0.3, 0.45))]
    gain = comparison(cells).gains("a")["linear"]
    assert gain["accuracy"] == pytest.approx(0.5)
    apart = 0.02 * 2**0.5  # each seed gains the same, however far the seeds lie apart; what is left are the test samples
    assert gain["interval"] == pytest.approx([0.5 - apart, 0.5 + apart])
    for each in cells:
        each.scores["linear"]["gains"] = {"untrained": {"difference": 0.5, "interval": [0.49, 0.51], "more_test_samples": None}}
    assert comparison(cells).gains("a")["linear"]["interval"] == pytest.approx([0.49, 0.51])
    assert difference([(score(0.7), score(0.5))])["interval"] is None


def test_methods_are_ordered_by_score_and_the_sentence_says_what_cannot_be_told_apart():
    close = [cell("b", seed, accuracy) for seed, accuracy in enumerate((0.71, 0.69, 0.74))]
    best = [cell("c", seed, accuracy) for seed, accuracy in enumerate((0.72, 0.73, 0.72))]
    worse = [cell("a", seed, accuracy) for seed, accuracy in enumerate((0.55, 0.56, 0.55))]
    found = comparison([*worse, *close, *best])
    assert found.methods() == ["c", "b", "a"]
    told = found.sentence()
    assert told.startswith("c scores best (linear probe): 72.3 %") and "22.3 points over its untrained encoder" in told
    assert told.endswith("With 3 seeds it cannot be told apart from b (71.3 %).")


def test_the_more_methods_there_are_the_clearer_a_difference_must_be():
    def found(others):
        cells = [cell("best", seed, 0.72 + seed / 500, spread=0.009) for seed in range(3)]
        cells += [cell(f"m{number}", seed, 0.704 + seed / 500, spread=0.009) for number in range(others) for seed in range(3)]
        return comparison(cells).sentence()

    assert "told apart" not in found(1) and "cannot be told apart from m0 (70.6 %), m1" in found(20)


def test_two_seeds_that_agree_by_chance_do_not_hide_the_noise_of_few_test_samples():
    cells = [cell(name, seed, accuracy, spread=0.08) for name, accuracy in (("a", 0.75), ("b", 0.72)) for seed in range(2)]
    assert comparison(cells, seeds=2).sentence().endswith("With 2 seeds it cannot be told apart from b (72.0 %).")


def test_where_labels_were_learned_from_the_sentence_names_the_best_without_them_as_well():
    cells = [cell(name, seed, best + seed / 500) for name, best in (("supcon", 0.78), ("simclr", 0.70), ("byol", 0.60)) for seed in range(3)]
    told = comparison(cells).sentence()
    assert told.startswith("supcon scores best") and "Of the methods without labels simclr scores best (linear probe): 70.2 %" in told
    assert comparison([each for each in cells if each.arm != "supcon"]).sentence().count("scores best") == 1


def test_the_sentence_does_not_hide_that_nothing_was_gained():
    found = comparison([cell("a", seed, 0.39 + accuracy, fresh=0.4) for seed, accuracy in enumerate((0.0, 0.02, -0.01))])
    assert "not distinguishable from its untrained encoder (-0.7 points, " in found.sentence()
    assert "But the raw input gives 40.0 %" in found.sentence()


def test_of_texts_every_floor_is_told_and_the_highest_of_the_input_named():
    floors = {name: {"linear": score(height)} for name, height in {"input": 0.4, "characters": 0.6, "words": 0.55, "untrained": 0.45}.items()}
    found = comparison([cell("a", seed, 0.5, floors=floors) for seed in range(2)], seeds=2)
    assert [row[0] for row in found.table()][2:] == ["raw input", "tf-idf of characters", "mean of word vectors, convnet", "untrained convnet"]
    assert found.sentence().endswith("But tf-idf of characters gives 60.0 %.")


def test_a_training_that_stopped_itself_is_a_result_and_one_that_died_is_told():
    verdict = {"verdict": "collapsed", "since_step": 7, "why": "one way"}
    cells = [
        cell("a", 0, 0.7),
        Cell("a", 1, STOPPED, Run("a/1"), health=[verdict], why="collapsed at step 9"),
        Cell("b", 0, DIED, Run("b/0"), why="killed"),
    ]
    found = comparison(cells, seeds=2)
    assert found.methods() == ["a", "b"]
    assert found.verdicts("a") == ["collapsed (1 of 2 seeds)"] and found.verdicts("b") == ["killed"]
    assert found.scores("b") == {} and found.costs("b")["steps"] is None
    table = found.table()
    assert table[1][-1] == "collapsed (1 of 2 seeds)" and table[2][-1] == "killed"
    assert [row[0] for row in table] == ["", "a", "b", "raw input", "untrained convnet"]
    assert len({len(row) for row in table}) == 1
    json.dumps(found.to_dict(), allow_nan=False)


def test_less_arithmetic_than_is_usual_on_an_encoder_is_explained_by_where_the_time_goes():
    usual, slow = {"forward and backward": 9.0, "views": 1.0}, {"forward and backward": 5.0, "views": 4.0, "optimiser": 1.0}
    cells = [cell(name, 0, 0.7, flops_per_second=rate, time_split=usual) for name, rate in (("a", 9e9), ("b", 9e9), ("c", 18e9), ("d", 6.3e9))]
    cells += [cell("e", 0, 0.7, flops_per_second=5e9, time_split=slow), cell("f", 0, 0.7, encoder="vit", flops_per_second=1e9, time_split=slow)]
    (told,) = comparison(cells).slower()
    assert told == (
        "e does 56% of the arithmetic per second of the median method on convnet: 50% of its time goes into forward and backward passes, "
        "which reach 100% of the median; the rest goes into views 40%, optimiser 10%."
    )


def test_magnitudes_have_a_unit():
    assert [magnitude(number) for number in (12.0, 1.5e3, 2.17e10, 4e12)] == ["12", "1.5 k", "21.7 G", "4 T"]


# --- arithmetic of a step ---


def test_the_arithmetic_of_a_step_is_that_of_its_matrix_products():
    data = open_data((POINTS, CLASSES))
    method = build_training(Request("supervised", settings={"encoder.width": 16, "encoder.depth": 1}), data, "cpu").method
    sizes = [(layer.in_features, layer.out_features) for layer in method.modules() if isinstance(layer, torch.nn.Linear)]
    products = [3 * 2 * 32 * a * b for a, b in sizes]  # forward, and the gradients of weight and input
    first = 2 * 32 * sizes[0][0] * sizes[0][1]  # the input itself has no gradient
    assert flops_a_step(method, data.rows, data.train(), 32) == sum(products) - first


@pytest.mark.parametrize("name", [name for name in STEPPING if not registry()[name].inherits])
def test_every_method_has_a_count_of_its_arithmetic(name):
    data = in_tokens(open_data(digits_for(name)))
    method = build_training(Request(name, settings=small_settings(name)), data, "cpu").method
    members = data.train()[:64]
    assert flops_a_step(method, data.rows, members, 16) > 1e5


def test_processor_time_adds_up_over_an_interruption(tmp_path):
    arguments = {"steps": 12, "batch": 64, "out": tmp_path / "run", "settings": {"encoder.width": 16}}
    with pytest.raises(Interrupted):
        leaven.pretrain(POINTS, **arguments, progress=lambda *_: signal.raise_signal(signal.SIGTERM))
    before = Checkpoints(tmp_path / "run" / "checkpoint").load()["times"]["processor"]
    result = leaven.pretrain(POINTS, **arguments).config["result"]
    assert 0 < before < result["cpu_seconds"]
    assert result["peak_memory"] > 10**7


# --- which methods take part ---


def test_all_leaves_out_what_does_not_suit_the_data_and_says_why():
    data = open_data((POINTS, CLASSES))
    found, left_out = entries("all", data, "cpu", {}, encoder="auto", steps=1)
    assert "simclr" in [entry.name for entry in found]
    assert left_out["mae"] == "mae learns from pixels, signal or wave, and this data is vector"
    assert left_out["supervised"] == "supervised learns from labels, and this data has no test split of its own"
    assert left_out["finetune"] == "finetune goes on from a trained encoder"
    with pytest.raises(UserError, match="learns from pixels"):
        entries("simclr,mae", data, "cpu", {}, encoder="auto", steps=1)


def test_what_learns_from_labels_takes_part_where_the_test_labels_are_kept_from_it():
    found, left_out = entries("all", open_data("demo:digits"), "cpu", {}, encoder="auto", steps=1)
    assert {"supervised", "supcon"} <= {entry.name for entry in found}
    assert left_out["fixmatch"] == "the method needs unlabeled samples, and there are none"
    others = [name for name in left_out if registry()[name].family not in ("text", "audio", "multimodal", "semi_supervised", "dual")]
    whole_pictures = ["detection", "segmentation"]
    assert others == sorted(["cmc", "colorization", "distillation", "finetune", "masked_prediction", "relative_positioning", *whole_pictures])


def test_of_a_method_that_keeps_several_encoders_the_one_of_a_role_is_scored(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "run_in_process", here)
    arguments = {"data": {"a": POINTS, "b": POINTS[:, :2] ** 2, "label": CLASSES}, "methods": "cmc", "steps": 2, "seeds": 1, "protocols": ("knn",)}
    with pytest.raises(UserError, match=r"cmc keeps several encoders \(a, b\), and only one is scored: choose one with --role: a or b"):
        leaven.compare(**arguments, out=tmp_path / "none")
    with pytest.raises(UserError, match="none for 'c'"):
        leaven.compare(**arguments, out=tmp_path / "none", role="c")
    scores = [leaven.compare(**arguments, out=tmp_path / role, role=role) for role in ("a", "b")]
    accuracies = [found.floors()["input"]["knn"]["accuracy"] for found in scores]
    assert accuracies[0] > accuracies[1]  # b says little of the classes
    assert all("knn" in found.scores("cmc") and (tmp_path / role / "report.html").is_file() for role, found in zip("ab", scores, strict=True))


def test_a_setting_is_for_one_method_or_for_all():
    data = open_data((POINTS, CLASSES))
    found, _ = entries("simclr,byol", data, "cpu", {"recipe.batch": 32, "simclr:temperature": 0.5}, encoder="auto", steps=1)
    assert [entry.request.settings for entry in found] == [{"recipe.batch": 32, "temperature": 0.5}, {"recipe.batch": 32}]
    with pytest.raises(UserError, match="not compared"):
        entries("simclr", data, "cpu", {"byol:momentum": 0.9}, encoder="auto", steps=1)
    with pytest.raises(UserError, match="no setting"):
        entries("all", data, "cpu", {"simclr:warmth": 1}, encoder="auto", steps=1)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"budget": "1m", "steps": 3}, "give one of"),
        ({"seeds": 0}, "one seed and one step"),
        ({"protocols": ("knn", "sts")}, "not compared by 'sts'"),
        ({"protocols": ("knn", "fid")}, "no protocol is named 'fid'"),
        ({"methods": "simclr,simcrl"}, "did you mean simclr"),
        ({"methods": "simclr,simclr"}, "have one name"),
        ({"data": POINTS}, "scores need labels"),
        ({"jobs": 0}, "one training at a time or more"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_made(arguments, told, tmp_path):
    with pytest.raises(UserError, match=told):
        leaven.compare(**{"data": (POINTS, CLASSES), "out": tmp_path / "out", **arguments})
    assert not (tmp_path / "out").exists()


# --- a process of its own ---


def test_a_wrong_input_that_a_task_meets_is_told_as_such():
    with pytest.raises(UserError, match="no such file or folder"):
        run_in_process(pace, {"request": Request(budget=1.0), "source": Source("/no/folder")}, Family(), say=print, progress=print)


def test_a_task_that_ends_without_an_answer_has_died(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(Died, match="ended with status 1"):
        run_in_process(pace, {"large": bytes(10**6)}, Family(), say=print, progress=print)


def test_asking_a_task_to_end_raises_interrupted_after_a_checkpoint(tmp_path):
    request = Request("simclr", steps=2000, settings=SMALL, device="cpu")  # logged every 10
    source = Source(Batch.of(x=Vector(POINTS), label=CLASSES))
    scoring = {"scoring": Scoring(("knn",)), "known_floors": {}}
    task = {"request": request, "source": source, "rows": None, "folder": tmp_path / "run", **scoring}
    with pytest.raises(Interrupted), Family() as family:
        run_in_process(train_and_score, task, family, say=print, progress=lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    steps = [path.stem for path in (tmp_path / "run" / "checkpoint").iterdir()]
    assert max(steps) > "step-000000000"


# --- end to end ---


def here(function, arguments, family, *, say, progress):
    """A task in this process: starting one takes seconds, and the tests above and below start enough of them."""
    return function(**arguments, say=say, progress=progress)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Two methods, one seed, plain numbers; and what was said."""
    out, lines = tmp_path_factory.mktemp("compare") / "out", []
    arguments = {"methods": "simclr,byol", "steps": 16, "seeds": 1, "out": out, "settings": SMALL}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(grid, "run_in_process", here)
        return leaven.compare((POINTS, CLASSES), **arguments, say=lines.append), arguments, lines


def test_a_comparison_scores_every_method_beside_its_floors(compared):
    found, arguments, lines = compared
    told = found.to_dict()
    assert set(told["scores"]) == {"simclr", "byol"} and set(told["floors"]) == {"input", "majority", "untrained mlp (width 16)"}
    for scores in [*told["scores"].values(), *told["floors"].values()]:
        assert {"accuracy", "interval"} <= scores["knn"].keys() & scores["linear"].keys()
    assert all(told["gains"][name]["linear"]["interval"] is None for name in ("simclr", "byol"))
    for name in ("simclr", "byol"):
        cost = told["costs"][name]
        assert cost["steps"] == 16 and cost["peak_memory"] > 10**7 and cost["cpu_seconds"] > 0 and cost["flops_per_second"] > 0
        run = Run.open(arguments["out"] / name / "0")
        assert run.finished and (run.path / "report.html").is_file()
        assert json.loads((run.path / "scorecard.json").read_text())["scores"] == told["cells"][["simclr", "byol"].index(name)]["scores"]
    assert sum("untrained" in line for line in lines) == 1  # one encoder, one seed: its floor is measured once
    assert json.loads((arguments["out"] / "comparison.json").read_text()) == told


def test_methods_are_compared_by_what_they_find_and_by_the_groups_that_they_form(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "run_in_process", here)
    arguments = {"methods": "simclr,byol", "steps": 2, "seeds": 2, "settings": SMALL, "protocols": ("retrieval", "clusters")}
    found = leaven.compare((POINTS, CLASSES), out=tmp_path / "out", **arguments)
    for name in ("simclr", "byol"):
        scores, cells = found.scores(name), found.cells_of(name)
        for protocol, measure in (("retrieval", "map"), ("clusters", "v_measure")):
            values = [cell.scores[protocol][measure] for cell in cells]
            assert scores[protocol][measure] == pytest.approx(np.mean(values))
            gained = [value - cell.floors["untrained"][protocol][measure] for value, cell in zip(values, cells, strict=True)]
            assert found.gains(name)[protocol]["seeds"] == pytest.approx(gained)
    assert found.table()[0][2:4] == ["retrieval (mAP)", "clusters (V-measure)"] and "scores best (retrieval (mAP))" in found.sentence()
    assert "retrieval (mAP)" in (tmp_path / "out" / "report.html").read_text()


def test_the_same_call_goes_on_with_what_is_missing(compared, monkeypatch):
    found, arguments, _ = compared
    folder = arguments["out"] / "byol" / "0"
    before = (arguments["out"] / "simclr" / "0" / "metrics.jsonl").stat().st_mtime_ns
    (folder / "cell.json").unlink()
    plan = json.loads((arguments["out"] / "plan.json").read_text())
    del plan["asked"]["role"]  # earlier versions knew none, and wrote down the steps of every method
    (arguments["out"] / "plan.json").write_text(json.dumps(plan | {"methods": {"simclr": {"steps": 16}, "byol": {"steps": 16}}}))
    made = []

    def counted(task, content, *family, **keywords):
        made.append((task, content["folder"].parent.name))
        return here(task, content, *family, **keywords)

    monkeypatch.setattr(grid, "run_in_process", counted)
    again = leaven.compare((POINTS, CLASSES), **arguments)
    assert made == [(train_and_score, "byol")]
    assert again.to_dict() == found.to_dict()
    assert (arguments["out"] / "simclr" / "0" / "metrics.jsonl").stat().st_mtime_ns == before


def test_more_seeds_are_added_to_those_that_are_there(compared, monkeypatch, tmp_path):
    found, arguments, _ = compared
    shutil.copytree(arguments["out"], tmp_path / "out")
    made = []

    def counted(task, content, *family, **keywords):
        made.append((task, content["folder"].parent.name, content["folder"].name))
        return here(task, content, *family, **keywords)

    monkeypatch.setattr(grid, "run_in_process", counted)
    more = leaven.compare((POINTS, CLASSES), **{**arguments, "out": tmp_path / "out", "seeds": 2})
    assert made == [(train_and_score, "simclr", "1"), (train_and_score, "byol", "1")]
    assert [cell.scores for cell in more.cells[:2]] == [cell.scores for cell in found.cells]


def test_another_comparison_in_the_same_folder_is_refused_with_the_difference(compared):
    _, arguments, _ = compared
    with pytest.raises(UserError, match=r"length.steps was 16"):
        leaven.compare((POINTS, CLASSES), **{**arguments, "steps": 17})
    with pytest.raises(UserError, match=r"data.fingerprint was"):
        leaven.compare((POINTS + 1, CLASSES), **arguments)


def test_the_page_shows_every_method_and_loads_nothing(compared):
    _, arguments, _ = compared
    page = (arguments["out"] / "report.html").read_text()
    assert re.findall(r'<section id="([^"]+)">', page) == ["scores", "over-time", "costs", "methods", "config"]
    assert re.findall(r'<article class="card" id="([^"]+)">', page) in (["simclr", "byol"], ["byol", "simclr"])
    ours = re.sub(r'<script type="application/gzip".*?</script>', "", page, flags=re.DOTALL)
    assert len(ours) < 300_000 and not re.search(r"https?://|@import|<link", ours)
    for link in re.findall(r'href="([^"#][^"]*)"', ours):
        assert (arguments["out"] / link).is_file()
    assert all(text for text in re.findall(r'<img[^>]*alt="([^"]*)"', ours))


def test_trainings_side_by_side_give_the_same_table_and_say_so(compared, tmp_path, monkeypatch):
    found, arguments, _ = compared
    together, alone, threads = threading.Barrier(2, timeout=60), threading.Lock(), []

    def meeting(task, content, family, **keywords):
        threads.append(family.threads)
        together.wait()  # neither begins before the other
        with alone:  # in one process they would share a random generator
            return here(task, content, family, **keywords)

    monkeypatch.setattr(grid, "run_in_process", meeting)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    again = leaven.compare((POINTS, CLASSES), **{**arguments, "out": tmp_path}, jobs=2)
    assert threads == [3, 3]
    assert {name: again.scores(name) for name in ("simclr", "byol")} == {name: found.scores(name) for name in ("simclr", "byol")}
    (more,) = set(again.notes) - set(found.notes)
    assert "2 trainings ran side by side" in more


def test_asking_trainings_side_by_side_to_end_ends_all_of_them_after_their_checkpoints(tmp_path):
    begun = set()

    def both(task, *numbers):
        begun.update(path.parent.parent.name for path in tmp_path.glob("*/0/checkpoint"))
        if begun == {"simclr", "byol"}:
            os.kill(os.getpid(), signal.SIGTERM)

    data = Batch.of(x=Vector(POINTS), label=CLASSES)
    with pytest.raises(Interrupted):
        leaven.compare(data, methods="simclr,byol", steps=100_000, seeds=2, out=tmp_path, settings=SMALL, jobs=2, progress=both)
    for name in ("simclr", "byol"):
        assert max(path.stem for path in (tmp_path / name / "0" / "checkpoint").iterdir()) > "step-000000000"
        assert not (tmp_path / name / "1").exists()


def test_a_stopped_training_is_written_down_and_not_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "run_in_process", here)
    arguments = {"methods": "simclr", "steps": 9, "seeds": 1, "out": tmp_path, "settings": {**SMALL, "recipe.lr": 1e30}}
    found = leaven.compare((POINTS, CLASSES), **arguments)
    (only,) = found.cells
    assert only.state == STOPPED and "non-finite loss" in only.why
    assert found.sentence() == "No method has a score."
    assert "non-finite loss" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "simclr" / "0" / "report.html").is_file()
    monkeypatch.setattr(grid, "run_in_process", None)  # nothing is left to do
    assert leaven.compare((POINTS, CLASSES), **arguments).cells == found.cells


def test_budgets_become_steps_once(tmp_path, monkeypatch):
    rehearsed = []

    def answer(function, content, *_, **__):
        rehearsed.append(function)
        return {"steps": 123, "batch": 64, "seconds_a_step": 0.1}

    monkeypatch.setattr(grid, "run_in_process", answer)
    arms, _ = entries("simclr", open_data((POINTS, CLASSES)), "cpu", {}, encoder="auto", budget=9.0)
    for _ in range(2):
        table = grid.Grid(tmp_path, "comparison", {"data": {"fingerprint": "1"}}, Source((POINTS, CLASSES)), Scoring(("knn",), "cpu"))
        table.settle_lengths(arms, Family(), print)
    assert rehearsed == [pace]
    assert json.loads((tmp_path / "plan.json").read_text())["methods"]["simclr"]["steps"] == 123


def test_the_pace_of_a_method_fills_its_budget():
    rehearsal = pace(Request("simclr", budget=4.0, settings=SMALL), Source((POINTS, CLASSES)))
    assert rehearsal["batch"] == 64
    assert 0.3 < rehearsal["steps"] * rehearsal["seconds_a_step"] / 4.0 < 1.05


def test_the_command_answers_with_scores_and_a_page(tmp_path, capsys, monkeypatch):
    words = shlex.split("compare demo:digits --methods simclr --seeds 1 --steps 3 --set simclr:encoder.width=8 --protocol knn -j 2")
    monkeypatch.setattr(sys, "argv", ["leaven", *words, "--out", str(tmp_path / "out"), "--json"])
    cli.main()
    told = json.loads(capsys.readouterr().out)
    assert told["scores"]["simclr"]["knn"]["accuracy"] > 0.3 and "linear" not in told["scores"]["simclr"]
    assert told["report"] == str(tmp_path / "out" / "report.html")
    assert (tmp_path / "out" / "report.html").is_file()
    assert any("2 trainings ran side by side" in note for note in told["notes"])
    assert Run(tmp_path / "out" / "simclr" / "0").config["command"][1:2] == ["compare"]


@pytest.mark.slow
def test_sigterm_ends_a_comparison_with_a_checkpoint_and_the_same_command_goes_on(tmp_path):
    words = ["compare", "demo:digits", "--methods", "simclr", "--seeds", "1", "--steps", "400", "--set", "encoder.width=16", "--out", str(tmp_path)]
    command = [sys.executable, "-m", "leaven.cli", *words]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    metrics = tmp_path / "simclr" / "0" / "metrics.jsonl"
    while not (metrics.is_file() and metrics.stat().st_size > 500):
        time.sleep(0.2)
    child.send_signal(signal.SIGTERM)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130 and "goes on" in err
    reached = max(row["step"] for row in Run(tmp_path / "simclr" / "0").metrics)
    assert 0 < reached < 400
    subprocess.run(command, check=True, timeout=300)
    steps = [row["step"] for row in Run(tmp_path / "simclr" / "0").metrics]
    assert steps == sorted(set(steps)) and steps[-1] == 400
