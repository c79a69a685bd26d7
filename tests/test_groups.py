"""Scores by leaving out one group after another."""

import numpy as np
import pytest
import torch

import leaven
from leaven.errors import UserError
from leaven.evaluation.frozen import Features
from leaven.evaluation.protocols.groups import LeaveOneGroupOut
from leaven.evaluation.protocols.linear import linear_probe

SPEAKERS = ("ana", "bob", "cem", "dan", "eve", "fay")


def drifting(classes=2, windows=240):
    """Windows of six recordings, each of which drifts in its own direction and has one class after another: the drift tells classes apart within a
    recording only."""
    random = np.random.default_rng(0)
    group = np.repeat(np.arange(6), windows // 6)
    time = np.tile(np.linspace(-1, 1, windows // 6), 6)
    label = np.minimum((time + 1) / 2 * classes, classes - 1).astype(int)
    start, drift = 4 * random.normal(size=(2, 6, 24))
    x = start[group] + drift[group] * time[:, None] + random.normal(size=(windows, 24))
    return {"x": x.astype(np.float32), "label": label, "group": np.array(SPEAKERS)[group]}


def test_each_group_is_scored_by_a_probe_that_has_not_seen_it():
    data = drifting(3)
    x, y = torch.from_numpy(data["x"]), torch.from_numpy(data["label"])
    group = torch.from_numpy(np.unique(data["group"], return_inverse=True)[1])
    names = dict(enumerate(SPEAKERS))
    score = LeaveOneGroupOut().score(Features(x[:200], y[:200], x[200:], y[200:], left_out=group, group_names=names))
    for number, entry in enumerate(score["groups"]):
        out = group == number
        alone = linear_probe(Features(x[~out], y[~out], x[out], y[out], group[~out])).predictions
        assert entry["group"] == names[number] and entry["accuracy"] == pytest.approx((alone == y[out]).double().mean().item())
    shares = [entry["accuracy"] for entry in score["groups"]]
    assert score["accuracy"] == pytest.approx(np.mean(shares)) and score["worst"] == SPEAKERS[int(np.argmin(shares))]
    assert score["interval"][0] < min(shares) + 0.05 or score["interval"][0] < score["accuracy"] < score["interval"][1]
    assert score["folds"] == 6 and LeaveOneGroupOut(folds=3).folds_of(group, 0).unique().tolist() == [0, 1, 2]
    with pytest.raises(UserError, match="no two groups"):
        LeaveOneGroupOut().score(Features(x[:200], y[:200], x[200:], y[200:]))


def test_a_random_split_of_a_recording_with_drift_looks_good_and_the_command_says_why_it_is_not(tmp_path):
    data = drifting()
    run = leaven.pretrain(data, encoder="mlp", method="autoencoder", steps=3, batch=50, out=tmp_path / "run")
    card = leaven.evaluate(run, data, protocols=("groups", "linear"))
    own, mixed = card.scores["groups"], card.random_split["groups"]
    assert own["accuracy"] < 0.75 < 0.85 < mixed["accuracy"]
    assert "A random split would show" in card.sentence() and "samples of groups that were learned" in card.sentence()
    assert f"Of 6 groups left out, {own['worst']} is the worst" in card.sentence()
    assert {"input", "untrained", "majority"} < own["gains"].keys()
    assert [row[0] for row in card.table()[1:]] == ["leave one group out", *(f"group {name}" for name in SPEAKERS), "linear probe"]
    assert all(entry["group"] in SPEAKERS and "auc" in entry for entry in card.floors["input"]["groups"]["groups"])


def test_data_without_groups_is_refused_with_what_to_do(tmp_path):
    data = drifting()
    del data["group"]
    run = leaven.pretrain(data, encoder="mlp", method="autoencoder", steps=1, batch=50, out=tmp_path / "run")
    with pytest.raises(UserError, match="no two groups") as error:
        leaven.evaluate(run, data, protocols=("groups",))
    assert "--groups" in error.value.hint
