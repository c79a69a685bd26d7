"""Two inputs of a sample teach each other what they are sure of."""

import pytest
import torch
from small import small, step_views
from torch.nn import functional as F

import leaven
from leaven.data import open_data
from leaven.methods.method import Outputs
from leaven.training.supervision import learned_hashes

LABELED = 12


def two_inputs(seed=0, count=600):
    """Each input says the class, with noise of its own. Few samples have a label."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randint(3, (count,), generator=generator)
    first, second = (1.6 * torch.eye(3)[classes] + 0.8 * torch.randn(count, 3, generator=generator) for _ in range(2))
    return {"first": first, "second": second}, classes, torch.where(torch.arange(count) < LABELED, classes, -1)


def test_what_one_input_is_confident_of_is_a_label_for_the_other_and_carries_no_gradient_back():
    method, _ = small("co_training", confidence=0.8)
    generator = torch.Generator().manual_seed(0)
    own, partner = (torch.randn(20, 3, generator=generator).mul(3).requires_grad_() for _ in range(2))
    expected = 0
    for student, teacher in ((own, partner), (partner, own)):
        share, guess = teacher.detach().softmax(1).max(1)
        kept = share >= 0.8
        assert 0 < kept.sum() < 20
        expected = expected + F.cross_entropy(student[kept], guess[kept], reduction="sum") / 20
    loss = method.of_unlabeled(Outputs(unlabeled=[own, partner]))
    assert torch.allclose(loss, expected)
    (gradient,) = torch.autograd.grad(method.taught(own, partner), partner, allow_unused=True)
    assert gradient is None


def test_both_inputs_learn_the_labels_and_each_has_its_own_encoder():
    method, _ = small("co_training")
    terms = method.loss(method(step_views(method)))
    assert set(terms) == {"cross_entropy", "unlabeled", "partner"}
    sum(terms.values()).backward()
    for part in (method.encoder, method.classifier, method.partner):
        assert any(parameter.grad is not None and parameter.grad.any() for parameter in part.parameters())


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """The accuracy on samples without a label, with and without them, and the run."""
    inputs, classes, labels = two_inputs()
    accuracies = {}
    for weight in (0.0, 1.0):
        run = leaven.pretrain(
            {**inputs, "label": labels}, method="co_training", steps=80, settings={"weight": weight, "kept": "second"},
            out=tmp_path_factory.mktemp("co") / "run", precision="fp32", report=False,
        )  # fmt: skip
        predicted = torch.tensor([int(label) for label in leaven.predict(run, inputs).labels])
        accuracies[weight] = (predicted == classes)[LABELED:].float().mean().item()
    return accuracies, run


def test_the_other_input_teaches_more_than_the_labels_alone(taught):
    accuracies, _ = taught
    assert accuracies[1.0] > accuracies[0.0] + 0.02


def test_the_run_names_samples_of_which_only_the_kept_input_is_known(taught):
    _, run = taught
    inputs, classes, _ = two_inputs()
    both, alone = (leaven.predict(run, data) for data in (inputs, {"second": inputs["second"]}))
    assert (both.probabilities == alone.probabilities).all()
    learned = open_data(inputs).hashes_of("second")[:LABELED]
    assert set(learned_hashes(run).tolist()) <= set(learned.tolist()) and len(learned_hashes(run))  # of the input that is tested
    rest = torch.where(torch.arange(len(classes)) >= 400, classes, -1)
    card = leaven.evaluate(run, {**inputs, "label": rest}, role="second").to_dict()
    assert card["scores"]["classifier"]["unlabeled"] == "co_training" and card["scores"]["classifier"]["accuracy"] > 0.6


@pytest.mark.parametrize(
    ("inputs", "settings", "told"),
    [
        (("first",), {}, "co_training learns from two inputs of a sample, and this data has 1: first"),
        (("first", "second"), {"kept": "third"}, "no input is called 'third'"),
    ],
)
def test_inputs_that_there_are_not_are_one_clear_line(inputs, settings, told, tmp_path):
    values, _, labels = two_inputs(count=60)
    data = {**{name: values[name] for name in inputs}, "label": labels}
    with pytest.raises(leaven.UserError, match=told):
        leaven.pretrain(data, method="co_training", steps=2, settings=settings, out=tmp_path / "run", report=False)


def test_fine_tuning_has_one_input_and_names_the_methods_that_read_it(taught, tmp_path):
    _, run = taught
    inputs, _, labels = two_inputs()
    with pytest.raises(leaven.UserError, match="'co_training' is no method by which unlabeled samples teach"):
        leaven.finetune(run, {**inputs, "label": labels}, role="second", unlabeled="co_training", steps=2, out=tmp_path / "run")


def test_texts_are_named_as_they_are_written(tmp_path):
    words = ("rain and snow", "bread and wine", "chess and cards")
    number = torch.arange(48)
    data = {"title": [f"{words[row % 3]} {row}" for row in number.tolist()], "text": [f"about {words[row % 3]}" for row in number.tolist()]}
    labels = torch.where(number < 12, number % 3, -1)
    small_networks = {f"encoder.{role}.{name}": value for role in data for name, value in (("width", 16), ("depth", 1), ("heads", 2))}
    run = leaven.pretrain(
        {**data, "label": labels}, method="co_training", steps=2, batch=16, settings=small_networks, out=tmp_path / "run", report=False
    )
    assert len(leaven.predict(run, data).labels) == 48
