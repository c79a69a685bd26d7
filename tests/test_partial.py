"""The last blocks learn from a few labels while the first ones stay as pre-training left them."""

import pytest
import torch
from test_finetune import points

import leaven
from leaven.data import open_data
from leaven.evaluation import floors


@pytest.fixture(scope="module")
def point_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("points") / "run"
    return leaven.pretrain(points()[0], steps=4, batch=64, out=out, settings={"encoder.width": 16}, precision="fp32")


@pytest.fixture
def trainings(monkeypatch):
    """What is trained: {labels, train, the encoder before and after}; a few steps each."""
    seen, original = [], floors.trained_on_labels

    def trained(encoder, data, labeled, test, *, start=None, settings=None, **more):
        before = None if start is None else {name: tensor.clone() for name, tensor in start.state_dict().items()}
        logits = original(encoder, data, labeled, test, start=start, settings=settings, **{**more, "steps": 4})
        seen.append({"labels": len(labeled), "train": (settings or {}).get("train"), "start": start, "before": before})
        return logits

    for module in ("partial", "few_label"):
        monkeypatch.setattr(f"leaven.evaluation.protocols.{module}.trained_on_labels", trained)
    return seen


def test_the_last_blocks_learn_from_each_count_of_labels_and_the_first_stay_as_they_were(point_run, trainings):
    card = leaven.evaluate(point_run, points(), protocols=["partial"], settings={"partial.counts": (3, 20, 400), "partial.draws": 2})
    curve = card.scores["partial"]
    assert [point["labels_per_class"] for point in curve] == [3, 20] and all(point["draws"] == 2 for point in curve)
    assert any("No class has 400 labels" in note for note in card.notes)
    assert {"frozen", "majority", "labels-only"} <= card.floors.keys()
    own = [training for training in trainings if training["start"] is not None]
    assert [training["labels"] for training in own] == [9, 9, 60, 60] and {training["train"] for training in own} == {"last:1"}
    for training in own:
        blocks, after = training["start"].depths(), training["start"].state_dict()
        same = {name for name, was in training["before"].items() if torch.equal(was, after[name].cpu())}
        assert {name for names in blocks[:-1] for name in names} <= same and not set(blocks[-1]) <= same
    assert "20 labels per class" in card.sentence() and "partial" in card.scores


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"partial.blocks": 9}, "this encoder has . blocks, not 9"),
        ({"partial.blocks": 0}, "1 block or more"),
        ({"partial.counts": (1000,)}, "the largest class has 6. to learn from"),
    ],
)
def test_what_cannot_be_measured_is_refused(point_run, settings, message):
    with pytest.raises(leaven.UserError, match=message):
        leaven.evaluate(point_run, points(), protocols=["partial"], settings=settings)


def test_one_labeled_class_is_refused(point_run):
    x, y = points()
    with pytest.raises(leaven.UserError, match="two classes or more"):
        leaven.evaluate(point_run, open_data((x, torch.where(y > 0, -1, 0))), protocols=["partial"])
