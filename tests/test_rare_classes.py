"""Classes of very different size: what makes them count equally, and scores that show whether they do."""

import dataclasses

import pytest
import torch
from small import labeled, small
from torch.nn import functional as F

import leaven
from leaven.data import open_data
from leaven.encoders import build_encoder
from leaven.evaluation.frozen import Features
from leaven.evaluation.per_class import are_unequal, per_class
from leaven.evaluation.protocols.linear import LinearProbe
from leaven.methods.method import Outputs
from leaven.methods.registry import build_method, find_method
from leaven.methods.supervised.supervised import evened


def uneven(sizes=(150, 30, 6), seed=0):
    """Overlapping clouds of these sizes."""
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    noise = torch.randn(len(labels), len(sizes), generator=torch.Generator().manual_seed(seed))
    return torch.eye(len(sizes))[labels] * 1.5 + noise, labels


@pytest.fixture(scope="module")
def point_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("points") / "run"
    return leaven.pretrain(uneven()[0], steps=4, batch=64, out=out, settings={"encoder.width": 16}, precision="fp32")


def built(name="supervised", data=None, **settings):
    data = data or open_data(uneven())
    encoder = build_encoder("mlp", data.spec.roles["x"], {"width": 8})
    method, _ = build_method(find_method(name), data.spec, {"x": encoder}, settings)
    method.prepare(lambda read: read(data.rows))
    return method


def test_sampling_takes_every_class_as_often_as_the_largest_and_unlabeled_samples_once():
    labels = torch.tensor([0, 0, 0, 0, 0, 1, -1, 2, 2, -1])
    times = evened(labels)
    assert [int(times[labels == label].sum()) for label in (0, 1, 2)] == [5, 5, 5]
    assert times[labels == -1].tolist() == [1, 1] and times[labels == 2].tolist() == [3, 2]
    method = built(rare_classes="sampling")
    assert uneven()[1][method.members()].bincount().tolist() == [150, 150, 150]


def test_logit_adjustment_adds_log_shares_while_it_learns_and_not_when_it_predicts():
    method = built(rare_classes="logit_adjustment").eval()
    logits, label = torch.randn(9, 3, generator=torch.Generator().manual_seed(0)), torch.arange(9) % 3
    shares = torch.tensor([150, 30, 6]) / 186
    expected = F.cross_entropy(logits + shares.log(), label)
    assert torch.allclose(method.loss(Outputs(logits=logits, label=label))["cross_entropy"], expected)
    x = open_data(uneven()).rows["x"]
    with torch.no_grad():
        assert torch.equal(method.classify(x), method.classifier(method.features(x)))


def test_the_balanced_optimum_of_logit_adjustment_is_uniform_where_features_say_nothing():
    method, label = built(rare_classes="logit_adjustment"), uneven()[1]
    logits = torch.zeros(3, requires_grad=True)
    (gradient,) = torch.autograd.grad(method.loss(Outputs(logits=logits.expand(len(label), 3), label=label))["cross_entropy"], logits)
    assert gradient.abs().max() < 1e-6


def test_class_weights_of_earlier_versions_are_the_same_as_weights():
    assert torch.equal(built(rare_classes="weights").weights, built(class_weights="balanced").weights)
    assert built(rare_classes="weights").weights.tolist() == pytest.approx([186 / 3 / size for size in (150, 30, 6)])


@pytest.mark.parametrize("choice", ["weights", "sampling", "logit_adjustment"])
def test_each_setting_raises_the_balanced_accuracy_of_fine_tuning(choice, point_run, tmp_path):
    x, y = uneven((60, 60, 60), seed=7)

    def balanced(**settings):
        options = {"steps": 30, "batch": 60, "all_labels": True, "precision": "fp32", "settings": {"folds": 2, **settings}}
        run = leaven.finetune(point_run, uneven(), out=tmp_path / (settings.get("rare_classes") or "none"), **options)
        numbers = torch.tensor([int(name) for name in leaven.predict(run, x).labels])
        return (numbers == y).double().mean().item()  # as many of each class

    assert balanced(rare_classes=choice) > balanced() + 0.05


@pytest.mark.parametrize("choice", ["weights", "sampling", "logit_adjustment"])
def test_unlabeled_samples_take_part_beside_balanced_labels(choice, point_run, tmp_path):
    x, y = uneven()
    some = torch.where(torch.arange(len(y)) % 2 == 0, y, -1)
    data = open_data((x, some))
    run = leaven.finetune(point_run, data, unlabeled="fixmatch", steps=3, batch=32, out=tmp_path / "run", settings={"rare_classes": choice})
    assert run.config["result"]["steps"] == 3


def test_the_second_classifier_sees_rare_classes_fully_and_common_ones_in_proportion():
    method = built("abc")
    assert method.kept_share.tolist() == pytest.approx([6 / 150, 6 / 30, 1.0])
    logits = torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    label, chance = torch.arange(300) % 3, torch.linspace(0, 0.999, 300)
    weak = torch.randn(300, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
    strong = torch.randn(300, 3, generator=torch.Generator().manual_seed(2), requires_grad=True)
    method.confidence = 0.6
    seen = Outputs(
        logits=logits, label=label, unlabeled=[weak.detach(), strong.detach()], balanced=logits, guesses=[weak, strong], index=torch.arange(300),
        chance_of_labeled=chance, chance_of_unlabeled=chance,
    )  # fmt: skip
    kept = chance < method.kept_share[label]
    terms = method.loss(seen)
    assert torch.allclose(terms["balanced"], F.cross_entropy(logits[kept], label[kept], reduction="sum") / 300)
    shares = weak.detach().softmax(1)
    sure = shares.max(1).values >= 0.6
    assert torch.allclose(terms["balanced_unlabeled"], F.cross_entropy(strong[sure], shares[sure], reduction="sum") / 300)  # all count at first
    terms["balanced_unlabeled"].backward()
    assert weak.grad is None
    method.done.fill_(1.0)
    sure &= chance < method.kept_share[shares.argmax(1)]
    assert torch.allclose(method.loss(seen)["balanced_unlabeled"], F.cross_entropy(strong[sure], shares[sure], reduction="sum") / 300)


def test_the_second_classifier_is_what_names_samples():
    method, _ = small("abc")
    torch.nn.init.normal_(method.average_balanced.network[0].weight)
    value = labeled("abc").rows["x"]
    with torch.no_grad():
        assert torch.allclose(method.eval().classify(value), method.average_balanced.network[0](method.features(value)))
    method.finish()
    assert torch.equal(method.balanced.weight, method.average_balanced.network[0].weight)


# --- scores


def test_classes_are_scored_one_by_one():
    labels, named = torch.tensor([0, 0, 0, 0, 2, 2]), torch.tensor([0, 0, 0, 1, 2, 0])
    score = per_class(named, labels, ["cat", "dog", "cow"])
    assert score["balanced_accuracy"] == pytest.approx((0.75 + 0.5) / 2)
    assert score["per_class"] == [{"class": "cat", "accuracy": 0.75, "samples": 4}, {"class": "cow", "accuracy": 0.5, "samples": 2}]
    assert "per_class" not in per_class(torch.arange(101), torch.arange(101), [str(number) for number in range(101)])
    assert are_unequal(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1])) and not are_unequal(torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2]))


def test_the_linear_probe_shows_the_balanced_accuracy_where_classes_are_unequal():
    (x, y), (even_x, even_y) = uneven(), uneven((60, 60, 60), seed=3)
    probe = LinearProbe()
    score = probe.score(Features(x, y, even_x, even_y, names=["a", "b", "c"]))
    assert score["balanced_accuracy"] == pytest.approx(score["accuracy"])
    titles = [row[0] for row in probe.rows([score, score])]
    assert titles == ["linear probe", "linear probe, balanced", "linear probe, worst class"]
    assert "(c)" in probe.rows([score, None])[2][1]
    assert "balanced_accuracy" not in probe.score(Features(even_x, even_y, even_x, even_y))


# --- bad input


@pytest.mark.parametrize("choice", ["sampling", "logit_adjustment"])
def test_what_does_not_go_together_is_refused(choice):
    with pytest.raises(leaven.UserError, match="balanced once"):
        built(rare_classes=choice, class_weights="balanced")
    spec = open_data(uneven()).spec
    tagged = dataclasses.replace(spec, classes=0, class_names=(), tag_names=("a", "b"))
    with pytest.raises(leaven.UserError, match="needs one class per sample"):
        build_method(find_method("supervised"), tagged, {"x": build_encoder("mlp", spec.roles["x"], {"width": 8})}, {"rare_classes": choice})


def test_an_unknown_way_is_refused_with_those_that_there_are():
    with pytest.raises(leaven.UserError, match=r"none, weights, sampling or logit_adjustment"):
        built(rare_classes="heavy")


@pytest.mark.parametrize("choice", ["weights", "sampling", "logit_adjustment"])
def test_a_class_with_one_label_takes_part(choice, point_run, tmp_path):
    options = {"steps": 3, "batch": 30, "all_labels": True, "out": tmp_path / "run", "settings": {"rare_classes": choice}}
    run = leaven.finetune(point_run, uneven((40, 20, 1)), **options)
    assert leaven.predict(run, uneven()[0]).probabilities.shape[1] == 3
