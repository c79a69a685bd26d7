"""A protocol of one's own, in one file, wherever protocols are used; and pairs whose sides have encoders of their own."""

import json

import pytest
import torch

import leaven
from leaven.cli import completion
from leaven.evaluation.protocol import PROTOCOLS
from leaven.evaluation.registry import registry
from leaven.evaluation.scorecard import Scorecard

TOY = '''
from dataclasses import dataclass

from leaven.evaluation.frozen import FrozenProtocol
from leaven.evaluation.protocol import Chart


@dataclass(frozen=True)
class Centroids(FrozenProtocol):
    """The share of test samples whose nearest class mean is that of their class.

    power: of the distance.
    """

    name = "centroids"
    title = "nearest mean"
    headline = "hits"

    power: float = 2.0

    def score(self, features):
        classes = features.train_labels.unique()
        means = [features.train[features.train_labels == label].mean(0) for label in classes]
        distance = [(features.test - mean).abs().pow(self.power).sum(1) for mean in means]
        hits = features.test_labels == classes[__import__("torch").stack(distance).argmin(0)]
        share = hits.double().mean().item()
        return {"hits": share, "interval": [share - 0.01, share + 0.01], "power": self.power}

    def figure(self, arms):
        return Chart("Means of classes", "Each arm is one point.", "power", "hits", {arm: [(s["power"], s["hits"], None)] for arm, s in arms.items()})
'''


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    path = tmp_path_factory.mktemp("toy") / "centroids.py"
    path.write_text(TOY)
    yield f"{path}:Centroids"
    PROTOCOLS.pop("centroids", None)


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits") / "run"
    return leaven.pretrain("demo:digits", encoder="dense", settings={"encoder.widths": (16,)}, steps=2, batch=32, out=folder, report=False)


def test_a_protocol_in_a_file_of_ones_own_is_scored_listed_and_on_the_page(toy, digits_run, command):
    status, out, err = command("evaluate", digits_run.path, "demo:digits", "--protocol", f"knn,{toy}", "--set", "centroids.power=1", "--json")
    assert status == 0, err
    told = json.loads(out)
    assert list(told["scores"]) == ["knn", "centroids"] and told["scores"]["centroids"]["power"] == 1.0
    assert told["floors"]["input"]["centroids"]["hits"] > 0.8 and told["floors"]["untrained"].keys() == {"knn", "centroids"}
    card = leaven.evaluate(digits_run, "demo:digits", protocols=("centroids",), report=True)
    assert card.table()[1][0] == "nearest mean" and card.sentence().endswith(", nearest mean.")
    page = (digits_run.path / "report.html").read_text()
    assert "nearest mean" in page and "Means of classes" in page
    listed = {protocol["name"]: protocol for protocol in leaven.list_protocols()}
    assert listed["centroids"]["options"] == {"power": 2.0} and listed["centroids"]["meanings"] == {"power": "of the distance"}
    assert listed["centroids"]["compare"]


def test_a_protocol_of_ones_own_compares_methods(toy, tmp_path):
    found = leaven.compare(
        "demo:digits",
        methods="simclr",
        encoder="dense",
        settings={"encoder.widths": (16,)},
        steps=2,
        seeds=1,
        protocols=("knn", toy),
        out=tmp_path / "compare",
    )
    assert 0 < found.scores("simclr")["centroids"]["hits"] <= 1 and "nearest mean" in found.table()[0]
    assert "nearest mean" in (tmp_path / "compare" / "report.html").read_text()


def test_a_scorecard_of_a_protocol_that_is_not_there_still_reads():
    ours, raw = {"accuracy": 0.5, "interval": [0.4, 0.6]}, {"accuracy": 0.3, "interval": [0.2, 0.35]}
    card = Scorecard("m", "e", "d", {"gone": ours}, {"input": {"gone": raw}})
    assert card.table()[1] == ["gone", "50.0 % (40.0-60.0)", "30.0 % (20.0-35.0)"]
    assert card.sentence() == "Pre-training is better than the raw input: 50.0 % against 30.0 %, gone."


def test_protocols_are_listed_with_their_needs_and_options(command):
    listed = json.loads(command("protocols", "--json")[1])
    assert {"knn", "linear", "few-label", "retrieval", "clusters", "pairs", "sts", "classifier", "samples"} <= {each["name"] for each in listed}
    assert all({"name", "title", "needs", "options"} <= each.keys() and each["options"].keys() == each["meanings"].keys() for each in listed)
    out = command("protocols", "few-label")[1]
    assert "--set few-label.counts=1,2,5,10" in out and "labels per class" in out and "samples" not in out.splitlines()[0]
    status, _, err = command("protocols", "few-labels")
    assert status == 2 and "did you mean few-label?" in err


def test_completion_knows_the_protocols_without_loading_them():
    own = {name: protocol for name, protocol in registry().items() if protocol.__module__.startswith("leaven.")}
    assert completion.protocol_names() == sorted(own)


def test_options_are_checked_and_old_arguments_mean_the_same(digits_run, command):
    run = digits_run
    for settings, words in (
        ({"few-label.counts": (1, 2)}, "an option of few-label, which is not used"),
        ({"knn.neighbours": 3}, "knn has no 'neighbours'"),
        ({"kn.k": 3}, "no protocol is named 'kn'"),
    ):
        with pytest.raises(leaven.UserError, match=words):
            leaven.evaluate(run, "demo:digits", protocols=("knn",), settings=settings)
    ours = leaven.evaluate(run, "demo:digits", protocols=("few-label",), settings={"few-label.counts": (1, 3)}, labels_only=0.001, report=False)
    old = leaven.evaluate(run, "demo:digits", protocols=("few-label",), labels_per_class=(1, 3), labels_only=0.001, report=False)
    assert ours.scores == old.scores and [point["labels_per_class"] for point in ours.scores["few-label"]] == [1, 3]
    card = leaven.evaluate(run, "demo:digits", protocols=("retrieval",), settings={"retrieval.at": "1,5"}, report=False)
    assert [point["at"] for point in card.scores["retrieval"]["recall"]] == [1, 5] and "precision at 5" in card.text()
    status, _, err = command("evaluate", run.path, "demo:digits", "--protocol", "few-label", "--labels-per-class", "one")
    assert status == 2 and "few-label.counts" in err and "Traceback" not in err


# --- several encoders ---


@pytest.fixture(scope="module")
def two_senses(tmp_path_factory):
    """Two views of one hidden vector, and a run that keeps an encoder of each."""
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(200, 4, generator=draw)
    data = {"touch": hidden @ torch.randn(4, 6, generator=draw), "smell": hidden @ torch.randn(4, 9, generator=draw)}
    folder = tmp_path_factory.mktemp("senses")
    run = leaven.pretrain(data, method="cmc", steps=5, batch=64, out=folder / "run", settings={"encoder.width": 16}, precision="fp32")
    return run, data


def test_pairs_with_an_encoder_on_each_side_are_scored_both_ways(two_senses):
    run, data = two_senses
    card = leaven.evaluate(run, data)
    score = card.scores["pairs"]
    both = score["directions"]
    assert list(both) == ["touch to smell", "smell to touch"] and set(card.floors) == {"untrained"}
    assert score["map"] == pytest.approx(sum(way["map"] for way in both.values()) / 2)
    rows = [row[0] for row in card.table()[1:]]
    assert rows[:2] == ["pairs (mean reciprocal rank)", "found among the first 1"] and {"touch to smell", "smell to touch"} <= set(rows)
    assert card.floors["untrained"]["pairs"]["directions"].keys() == both.keys()
    page = (run.path / "report.html").read_text()
    assert "Map of the features (touch)" in page and "Map of the features (smell)" in page
    chosen = leaven.evaluate(run, data, protocols=("pairs",), settings={"pairs.roles": "smell,touch"}, report=False)
    assert chosen.scores["pairs"]["directions"]["smell to touch"] == both["smell to touch"]


def test_a_role_chooses_the_encoder_that_is_scored(two_senses):
    run, data = two_senses
    labels = (data["touch"][:, 0] > 0).long()
    cards = {role: leaven.evaluate(run, {**data, "label": labels}, role=role, protocols=("knn",), report=False) for role in data}
    assert cards["touch"].scores != cards["smell"].scores
    alone = leaven.evaluate(run, (data["smell"], labels), role="smell", protocols=("knn",), report=False)
    assert alone.scores["knn"]["accuracy"] == pytest.approx(cards["smell"].scores["knn"]["accuracy"], abs=0.15)
    with pytest.raises(leaven.UserError, match="several encoders: smell, touch"):
        leaven.evaluate(run, {**data, "label": labels}, protocols=("knn",))
    with pytest.raises(leaven.UserError, match="no encoder is named 'taste'"):
        leaven.evaluate(run, data, role="taste")


def test_one_encoder_reads_the_role_that_is_named(digits_run):
    run = leaven.pretrain(torch.randn(60, 5, generator=torch.Generator().manual_seed(0)), encoder="mlp", settings={"encoder.width": 8}, steps=1,
                          out=digits_run.path.parent / "points", report=False)  # fmt: skip
    draw = torch.Generator().manual_seed(1)
    label = torch.arange(60) % 2
    data = {"left": torch.randn(60, 5, generator=draw) + 3 * label[:, None], "right": torch.randn(60, 5, generator=draw), "label": label}
    with pytest.raises(leaven.UserError, match="left, right"):
        leaven.evaluate(run, data, protocols=("knn",), report=False)
    scores = [leaven.evaluate(run, data, protocols=("knn",), role=role, report=False).floors["input"] for role in ("left", "right")]
    assert scores[0] != scores[1]
