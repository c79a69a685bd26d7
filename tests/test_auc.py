"""The area under the ROC curve, and where it takes the place of accuracy."""

import itertools
import json

import pytest
import torch
from sklearn.metrics import roc_auc_score

import leaven
from leaven.evaluation.auc import auc_interval, auc_values, with_auc
from leaven.evaluation.comparison import Comparison
from leaven.evaluation.frozen import Features
from leaven.evaluation.gains import add_gains
from leaven.evaluation.intervals import resampled
from leaven.evaluation.protocols.linear import linear_accuracy
from leaven.evaluation.results import FINISHED, Cell
from leaven.evaluation.scorecard import Scorecard
from leaven.run import Run


@pytest.fixture(scope="module")
def rare():
    """400 samples of which an eighth is of one class, which half of the numbers tell a little."""
    generator = torch.Generator().manual_seed(0)
    labels = (torch.arange(400) % 8 == 0).long()
    return torch.randn(400, 6, generator=generator) + 1.2 * labels[:, None] * torch.tensor([1, 1, 1, 0, 0, 0]), labels


def test_the_mean_of_the_values_is_the_area_and_their_spread_that_of_resampled_areas(rare):
    x, labels = rare
    scores = x.sum(1).round(decimals=1)  # with equal ones among them
    values = auc_values(scores, labels == 1)
    assert values.mean().item() == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert torch.allclose(values, auc_values(torch.stack([scores, -scores]), labels == 1)[0])
    areas = [roc_auc_score(labels, scores, sample_weight=times) for times in resampled(400, resamples=200)]
    assert values.std().item() / 20 == pytest.approx(torch.tensor(areas).std().item(), rel=0.15)


def test_an_area_without_errors_is_as_sure_as_the_rarer_class_is_large():
    labels = torch.tensor([0] * 95 + [1] * 5)
    low, high = auc_interval(auc_values(labels.float(), labels == 1), labels)
    assert (low, high) == (pytest.approx(0.025 ** (1 / 5)), 1.0)


def test_the_area_takes_the_place_of_accuracy_where_one_of_two_classes_is_common(rare, tmp_path):
    x, labels = rare
    assert "measure" not in with_auc({}, x[:, 0], torch.arange(400) % 2) and with_auc({}, x[:, 0], torch.arange(400) % 3) == {}
    run = leaven.pretrain((x, labels), encoder="mlp", method="autoencoder", steps=3, batch=50, out=tmp_path / "auc")
    few = {"few-label.counts": (5,)}
    card = leaven.evaluate(run, (x, labels), protocols=("knn", "linear", "few-label"), settings=few, labels_only=0.001, report=False)
    json.dumps(card.to_dict())
    linear, majority = card.scores["linear"], card.floors["majority"]["linear"]
    assert linear["measure"] == "auc" and 0.6 < linear["auc"] < 1 and majority["auc"] == 0.5 and majority["accuracy"] > 0.8
    assert {"accuracy", "interval", "gains", "auc_interval", "auc_gains"} <= linear.keys() and "majority" in linear["auc_gains"]
    assert [row[0] for row in card.table()[1:4]] == ["nearest neighbours (AUC)", "linear probe (AUC)", "5 labels per class (AUC)"]
    assert f"{100 * linear['auc']:.1f} %" in card.sentence() and "(AUC)" in card.sentence() and "areas under the ROC curve" in card.text()
    assert card.figures()[0].heading == "AUC with few labels"
    assert Scorecard.from_dict(card.to_dict()).sentence() == card.sentence()


def test_a_comparison_goes_by_the_area_as_well(rare):
    x, labels = rare
    cells, encoder = [], Run("nowhere")
    for seed, arm in itertools.product((0, 1), ("good", "poor")):
        noise = torch.randn(400, 6, generator=torch.Generator().manual_seed(seed))
        arms = x + (arm == "poor") * noise, noise
        own, untrained = (linear_accuracy(Features(some[:300], labels[:300], some[300:], labels[300:])) for some in arms)
        scores, floors = {"linear": own}, {"untrained": {"linear": untrained}}
        add_gains(scores, floors)
        cells.append(Cell(arm, seed, FINISHED, encoder, "mlp", scores, floors))
    comparison = Comparison("nowhere", "rare", ("linear",), {"steps": 1}, 2, cells)
    assert comparison.methods() == ["good", "poor"] and comparison.table()[0][2] == "linear probe (AUC)"
    assert comparison.scores("poor")["linear"].keys() >= {"accuracy", "interval", "auc", "auc_interval", "measure", "seeds"}
    areas = [cell.scores["linear"]["auc"] for cell in cells[::2]]
    untrained = [cell.floors["untrained"]["linear"]["auc"] for cell in cells[::2]]
    assert comparison.scores("good")["linear"]["auc"] == pytest.approx(sum(areas) / 2)
    assert f"good scores best (linear probe (AUC)): {50 * sum(areas):.1f} %" in comparison.sentence()
    assert comparison.gains("good")["linear"]["auc"] == pytest.approx((sum(areas) - sum(untrained)) / 2)
