"""Labels that are probably wrong are found by predictions that have not seen them."""

import csv

import pytest
import torch

import leaven
from leaven.data import open_data
from leaven.evaluation.suspects import confident, suspects


def points(wrong=0.1, count=600):
    """Three blobs, and labels of which some are wrong."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(3, (count,), generator=generator)
    x = 4 * torch.eye(3)[classes] + torch.randn(count, 3, generator=generator)
    flipped = torch.rand(count, generator=generator) < wrong
    return x, torch.where(flipped, (classes + 1) % 3, classes), flipped


def test_a_class_counts_from_the_mean_probability_of_those_that_are_labeled_so():
    probabilities = torch.tensor([[0.9, 0.1], [0.45, 0.55], [0.4, 0.6], [0.8, 0.2], [0.3, 0.7]])
    labels = torch.tensor([0, 0, 1, 1, 1])  # thresholds 0.675 and 0.5
    wrong, likely = confident(probabilities, labels)
    assert wrong.tolist() == [False, True, False, True, False] and likely[wrong].tolist() == [1, 0]


def test_wrong_labels_are_found_and_right_ones_left_alone():
    x, labels, flipped = points()
    found = suspects(x, open_data((x, labels)))
    listed = torch.zeros(600, dtype=torch.bool)
    listed[found.rows] = True
    assert (listed & flipped).sum() > 0.6 * flipped.sum() and (listed & flipped).sum() > 0.9 * listed.sum()
    assert flipped[found.rows[:20]].all() and found.tested == 600


def test_inspect_lists_them_and_writes_them_to_a_table(tmp_path):
    x, labels, _ = points()
    run = leaven.pretrain(x, method="autoencoder", steps=30, out=tmp_path / "run", report=False)
    inspection = leaven.inspect((x, labels), run=run.path, suspects=tmp_path / "wrong.csv", steps=2)
    suspected = inspection.to_dict()["suspects"]
    assert 30 < suspected["suspected"] < 90 and len(suspected["worst"]) == 20 and "mislabeled  probably" in inspection.text()
    with open(tmp_path / "wrong.csv", newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == suspected["suspected"] and lines[0]["label"] != lines[0]["likely"]


def test_what_cannot_be_looked_at_is_refused_before_any_work(tmp_path, monkeypatch):
    x, labels, _ = points(count=40)
    run = leaven.pretrain(x, method="autoencoder", steps=2, out=tmp_path / "run", report=False)
    with pytest.raises(leaven.UserError, match="classes have 5 labels each, and '2' has 1"):
        leaven.inspect((x, torch.where(labels == 2, -1, labels).index_fill(0, torch.tensor([0]), 2)), run=run.path, steps=2)
    monkeypatch.setattr("leaven.api.inspect.inspect_data", lambda *_, **__: pytest.fail("there was work before the refusal"))
    with pytest.raises(leaven.UserError, match="have 5 labels each"):
        leaven.inspect((x[:4], labels[:4]), run=run.path)
    with pytest.raises(leaven.UserError, match="--run"):
        leaven.inspect((x, labels), suspects=tmp_path / "wrong.csv")
    with pytest.raises(leaven.UserError, match=r"end --suspects with \.csv"):
        leaven.inspect((x, labels), run=run.path, suspects=tmp_path / "wrong.png")
