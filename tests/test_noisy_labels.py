"""Fine-tuning on labels of which some are wrong."""

import pytest
import torch

import leaven
from leaven.data import open_data
from leaven.evaluation.classifier import load_classifier


def clouds(count=300, wrong=0.0, seed=0):
    """(x, labels, truth): three clouds; so many labels are wrong."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.arange(count) % 3
    x = torch.eye(3)[truth] * 5 + torch.randn(count, 3, generator=generator)
    changed = torch.rand(count, generator=generator) < wrong
    return x, torch.where(changed, (truth + 1) % 3, truth), truth


@pytest.fixture(scope="module")
def point_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("points") / "run"
    return leaven.pretrain(clouds()[0], steps=4, batch=64, out=out, settings={"encoder.width": 16}, precision="fp32")


def tuned(point_run, data, out, **more):
    settings = {"noisy_labels": "leave_out", **more.pop("settings", {})}
    arguments = {"steps": 40, "batch": 60, "all_labels": True, "precision": "fp32"}
    return leaven.finetune(point_run, data, out=out, settings=settings, **{**arguments, **more})


@pytest.mark.parametrize("settings", [{}, {"folds": 2}, {"rare_classes": "sampling"}])
def test_wrong_labels_are_left_out_and_right_ones_stay(settings, point_run, tmp_path):
    x, labels, truth = clouds(wrong=0.2)
    run = tuned(point_run, (x, labels), tmp_path / "run", settings=settings)
    method, _ = load_classifier(run)
    wrong = labels != truth
    assert (~method.trusted[wrong]).float().mean() > 0.75 and method.trusted[~wrong].float().mean() > 0.95
    assert not (method.times[~method.trusted] > 0).any() and (method.times[method.trusted] > 0).all()
    (choice,) = [choice for choice in run.config["choices"] if choice["what"] == "labels left out"]
    assert choice["value"] == f"{int((~method.trusted).sum())} of 300"
    predictions = torch.tensor([int(name) for name in leaven.predict(run, x).labels])
    assert (predictions == truth).float().mean() > 0.97


def test_a_class_with_too_few_labels_is_named(point_run, tmp_path):
    x, labels, _ = clouds(60)
    few = torch.where((labels == 2) & (torch.arange(60) > 6), -1, labels)
    with pytest.raises(leaven.UserError, match="wrong labels are found where classes have 5 labels each, and '2' has 2"):
        tuned(point_run, open_data((x, few)), tmp_path / "run", batch=20)


def test_an_unknown_way_is_refused(point_run, tmp_path):
    with pytest.raises(leaven.UserError, match="choose none or leave_out"):
        tuned(point_run, clouds()[:2], tmp_path / "run", settings={"noisy_labels": "guess"})
