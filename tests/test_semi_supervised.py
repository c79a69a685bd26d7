"""Few labels beside many unlabeled samples: the mathematics of each method, the one command, and whether it says when the unlabeled samples hurt."""

import dataclasses
import math

import pytest
import torch
from small import few_of_each_family, labeled, small, step_views
from torch.nn import functional as F

import leaven
from leaven.evaluation.protocols.classifier import Classifier
from leaven.methods.method import Outputs
from leaven.methods.partly_labeled import effective_number, sharpened
from leaven.methods.registry import build_method, provided_arguments, registry
from leaven.methods.semi_supervised.noisy_student import chosen
from leaven.modalities import Vector
from leaven.training.trained import trained_method

METHODS = [name for name, method in registry().items() if method.learns_unlabeled and "encoder" in provided_arguments(method)]
GUESSING = [name for name in METHODS if name in ("pseudo_label", "uda", "fixmatch")]


def logits(*shape, seed=0, scale=3.0):
    return (scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))).requires_grad_()


def outputs(unlabeled, index=None, labeled=6, classes=3):
    return Outputs(
        logits=logits(labeled, classes, seed=9), label=torch.arange(labeled) % classes, unlabeled=unlabeled, index=torch.arange(len(unlabeled[0]))
    )


# --- the mathematics ---


@pytest.mark.parametrize("name", ["uda", "fixmatch"])
def test_guesses_carry_no_gradient(name):
    method, _ = small(name, confidence=0.0)
    weak, strong = logits(8, 3), logits(8, 3, seed=1)
    method.loss(outputs([weak, strong]))["unlabeled"].backward()
    assert weak.grad is None and strong.grad.abs().sum() > 0


def test_fixmatch_divides_by_the_whole_unlabeled_batch():
    method, _ = small("fixmatch", confidence=0.8)
    weak, strong = logits(20, 3), logits(20, 3, seed=1)
    share, guess = weak.softmax(1).max(1)
    kept = share >= 0.8
    assert 0 < kept.sum() < 20
    expected = F.cross_entropy(strong[kept], guess[kept], reduction="sum") / 20
    assert torch.allclose(method.of_unlabeled(outputs([weak, strong])), expected)


def test_thresholds_of_flexmatch_are_those_of_its_paper_and_rise_with_what_is_learned():
    method, _ = small("fixmatch", threshold="flex", confidence=0.9)
    seen = torch.tensor([0] * 6 + [1] * 2 + [-1] * 24)
    method.sure_of.copy_(seen)
    learned = torch.tensor([6.0, 2.0, 0.0]) / max(6, 24)  # the unseen ones are the largest class at first (eq. 11)
    assert torch.allclose(method.thresholds(), 0.9 * learned / (2 - learned))
    method.sure_of.copy_(torch.tensor([0] * 16 + [1] * 8 + [2] * 8))
    high, *low = method.thresholds().tolist()
    assert high == pytest.approx(0.9) and low == pytest.approx([0.9 * 0.5 / 1.5] * 2)


def test_thresholds_of_freematch_follow_the_mean_confidence_and_the_classes():
    method, _ = small("fixmatch", threshold="free")
    assert torch.allclose(method.thresholds(), torch.full((3,), 1 / 3))
    weak = torch.tensor([[4.0, 0.0, 0.0]]).repeat(8, 1)
    for _ in range(200):
        method.after_step(outputs([weak, weak]), 0.1)
    first, second, third = method.thresholds().tolist()
    kept = 0.999**200
    assert first == pytest.approx(kept / 3 + (1 - kept) * weak[0].softmax(0)[0].item(), rel=1e-4) and second == third < first


def test_freematch_keeps_predictions_spread_over_the_classes():
    plain, fair = (small("fixmatch", confidence=0.0, fairness=weight)[0] for weight in (0.0, 0.5))
    fair.shares.copy_(torch.tensor([0.5, 0.3, 0.2]))
    fair.guessed.copy_(torch.tensor([0.6, 0.2, 0.2]))
    weak, strong = logits(12, 3), logits(12, 3, seed=1)
    shares = strong.softmax(1)
    counts = shares.argmax(1).bincount(minlength=3)
    assert (counts > 0).all()
    wanted, mean = torch.tensor([0.5 / 0.6, 0.3 / 0.2, 0.2 / 0.2]), shares.mean(0) * 12 / counts
    term = (wanted / wanted.sum() * (mean / mean.sum()).log()).sum()
    assert torch.allclose(fair.of_unlabeled(outputs([weak, strong])), plain.of_unlabeled(outputs([weak, strong])) + 0.5 * term)


def test_uda_compares_with_sharpened_probabilities_of_confident_samples_and_leaves_out_learned_labels():
    method, _ = small("uda", confidence=0.7, sharpness=0.5, annealing="linear")
    weak, strong = logits(20, 3), logits(20, 3, seed=1)
    wanted = sharpened(weak.softmax(1), 0.5)
    kept = weak.softmax(1).max(1).values >= 0.7
    nats = (wanted * (wanted.log() - strong.log_softmax(1))).sum(1)
    assert torch.allclose(method.of_unlabeled(outputs([weak, strong])), (nats * kept).sum() / 20, atol=1e-6)
    seen = outputs([weak, strong])
    known = seen.logits.softmax(1).gather(1, seen.label[:, None])[:, 0]
    assert 0 < (known <= 1 / 3).sum() < 6
    expected = F.cross_entropy(seen.logits[known <= 1 / 3], seen.label[known <= 1 / 3])
    assert torch.allclose(method.of_labeled(seen), expected)


def test_the_pi_model_and_mean_teachers_are_squared_differences_of_probabilities():
    first, second = logits(5, 3), logits(5, 3, seed=1)
    expected = (first.softmax(1) - second.softmax(1)).square().mean()
    assert torch.allclose(small("pi_model")[0].of_unlabeled(outputs([first, second])), expected)
    teacher, _ = small("mean_teacher")
    assert torch.allclose(teacher.of_unlabeled(Outputs(unlabeled=[first], teacher=second)), expected)


def test_mixmatch_mixes_each_sample_more_with_itself_and_sharpens_to_a_distribution():
    shares = torch.tensor([[0.5, 0.3, 0.2]])
    assert torch.allclose(sharpened(shares, 0.5), torch.tensor([[0.25, 0.09, 0.04]]) / 0.38)
    assert torch.allclose(sharpened(shares, 1.0), shares)
    views = step_views(small("mixmatch")[0])
    assert (views["of_labeled"] >= 0.5).all() and (views["of_unlabeled"] >= 0.5).all()


def test_the_weight_of_the_unlabeled_term_rises_as_laine_and_aila_have_it():
    method, _ = small("pi_model", weight=2.0, ramp=0.5)
    for progress, expected in ((0.0, 2 * math.exp(-5)), (0.25, 2 * math.exp(-5 * 0.25)), (0.5, 2.0), (1.0, 2.0)):
        method.done.fill_(progress)
        assert method.risen() == pytest.approx(expected)


def test_a_noisy_student_learns_from_as_many_of_each_class():
    shares = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4], [0.55, 0.45], [0.2, 0.8], [0.51, 0.49], [1.0, 0.0]])
    labeled = torch.tensor([False] * 7 + [True])
    assert chosen(shares, labeled, 0.54, balanced=False).tolist() == [1, 1, 1, 1, 1, 1, 0, 1]
    assert chosen(shares, labeled, 0.54, balanced=True).tolist() == [1, 1, 1, 0, 0, 3, 0, 1]


def test_the_effective_number_of_classes_counts_equal_ones():
    assert effective_number(torch.tensor([0.25] * 4)) == pytest.approx(4) and effective_number(torch.tensor([1.0, 0, 0])) == pytest.approx(1)


# --- training ---


def blobs(labeled=15, apart=2.2):
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(3, (900,), generator=generator)
    points = torch.eye(3)[classes] * apart + torch.randn(900, 3, generator=generator)
    return points, classes, torch.where(torch.arange(900) < labeled, classes, -1)


def accuracy(run, points, classes):
    return (trained_method(run).classify(Vector(points)).argmax(1) == classes)[15:].float().mean().item()


@pytest.fixture(scope="module")
def labels_alone(tmp_path_factory):
    points, classes, labels = blobs()
    run = leaven.pretrain((points, labels), method="supervised", steps=100, out=tmp_path_factory.mktemp("alone"), precision="fp32", report=False)
    return accuracy(run, points, classes)


@pytest.mark.parametrize("name", few_of_each_family(METHODS, most=3))
def test_unlabeled_samples_teach_more_than_the_labels_alone(name, labels_alone, tmp_path):
    points, classes, labels = blobs()
    run = leaven.pretrain((points, labels), method=name, steps=100, out=tmp_path / "run", precision="fp32", report=False)
    assert accuracy(run, points, classes) > labels_alone + 0.01


def test_the_average_of_the_weights_is_what_is_kept(tmp_path):
    points, _, labels = blobs()
    run = leaven.pretrain((points, labels), method="fixmatch", steps=5, out=tmp_path / "run", precision="fp32", report=False)
    method = trained_method(run)
    kept, averaged = method.encoder.state_dict(), method.average.network[0].state_dict()
    assert all(torch.equal(kept[key], averaged[key]) for key in kept)
    assert torch.equal(leaven.load(run)(points), method.encoder(points))


def test_students_can_have_another_encoder_than_their_teacher(tmp_path):
    points, _, labels = blobs()
    settings = {"encoder.widths": (8,), "student": "dense", "iterations": 1, "noise": 0.5}
    run = leaven.pretrain((points, labels), method="noisy_student", encoder="dense", steps=6, settings=settings, out=tmp_path / "run", report=False)
    method = trained_method(run)
    assert method.teacher[0].dim == 8 and leaven.load(run).dim == method.encoder.dim > 8
    assert torch.equal(leaven.load(run)(points), method.encoder(points))


DISTILLED = {"first_teacher": "run", "iterations": 1, "student": "dense", "confidence": 0.0, "balanced": False, "noise": 0.0, "dropout": 0.0}


def test_a_small_student_learns_what_a_fine_tuned_run_says_of_the_rest(started, tmp_path):
    start, points, _, labels, _ = started
    tuned = leaven.finetune(start, (points, labels), steps=40, out=tmp_path / "tuned", settings={"folds": 0})
    run = leaven.finetune(tuned, (points, labels), unlabeled="noisy_student", steps=40, settings=DISTILLED, precision="fp32", out=tmp_path / "small")
    student, teacher = trained_method(run), trained_method(tuned)
    assert [stage.name for stage in student.stages()] == ["student 1"] and type(leaven.load(run)).__name__ == "Dense"
    assert torch.equal(student.teacher[1].weight, teacher.classifier.weight) and torch.equal(student.teacher[0](points), leaven.load(tuned)(points))
    shares = teacher.classify(Vector(points)).softmax(1)
    assert torch.allclose(student.targets[-840:], shares[60:], atol=1e-5)  # the rest; before it are the labels
    assert torch.equal(student.targets[:-840].amax(1), torch.ones(len(student.targets) - 840))
    agreed = student.classify(Vector(points)).argmax(1) == shares.argmax(1)
    assert agreed.float().mean() > 0.9
    same = {"unlabeled": "noisy_student", "steps": 40, "settings": DISTILLED, "precision": "fp32"}
    again = leaven.finetune(tuned, (points, labels), out=tmp_path / "small", **same)
    assert again.path == run.path


def test_only_a_run_that_names_these_classes_can_be_the_first_teacher(started, tmp_path):
    start, points, _, labels, _ = started
    with pytest.raises(leaven.UserError, match="takes the classifier of the run that it starts from, and there is none"):
        leaven.finetune(start, (points, labels), unlabeled="noisy_student", steps=2, settings=DISTILLED, out=tmp_path / "a")
    tuned = leaven.finetune(start, (points, torch.where(labels == 2, 1, labels)), steps=2, out=tmp_path / "tuned")
    with pytest.raises(leaven.UserError, match="the classes of this run are not those of the data: '2' is in one of them only"):
        leaven.finetune(tuned, (points, labels), unlabeled="noisy_student", steps=2, settings=DISTILLED, out=tmp_path / "b")


@pytest.mark.parametrize("name", ["fixmatch", "noisy_student"])
def test_tags_are_not_guessed(name):
    method, _ = small(name)
    tagged = dataclasses.replace(labeled(name).spec, tag_names=("a", "b"))
    with pytest.raises(leaven.UserError, match="guesses the class of unlabeled samples, and these samples have tags"):
        build_method(type(method), tagged, {"x": method.encoder})


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    points, classes, labels = blobs(60)
    folder = tmp_path_factory.mktemp("started")
    return leaven.pretrain(points, method="autoencoder", steps=5, out=folder / "start", report=False), points, classes, labels, folder


def test_finetune_learns_from_the_samples_without_labels_as_well(started):
    start, points, classes, labels, folder = started
    run = leaven.finetune(start, (points, labels), unlabeled="fixmatch", steps=10, out=folder / "tuned")
    assert run.config["asked"]["method"]["name"] == "fixmatch" and run.config["start"] == str(start.path)
    chosen_for_user = {choice["what"]: choice["value"] for choice in run.config["choices"]}
    assert chosen_for_user["unlabeled"] == "840 samples"
    assert len(leaven.predict(run, points).labels) == 900
    rest = torch.where(torch.arange(900) >= 600, classes, -1)  # the learned labels are known from the run
    card = leaven.evaluate(run, (points, rest)).to_dict()
    assert {"without-unlabeled", "labels-only", "frozen", "input"} <= set(card["floors"]) and card["scores"]["classifier"]["unlabeled"] == "fixmatch"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"unlabeled": "simclr"}, "no method by which unlabeled samples teach"),
        ({"unlabeled": "fixmatch", "train": "head"}, "the whole encoder is trained"),
        ({"unlabeled": "fixmatch", "every": True}, "every sample has a label"),
    ],
)
def test_what_cannot_learn_from_unlabeled_samples_is_refused(started, change, what, tmp_path):
    start, points, classes, labels, _ = started
    labels = classes if change.pop("every", False) else labels
    with pytest.raises(leaven.UserError, match=what):
        leaven.finetune(start, (points, labels), out=tmp_path / "run", steps=2, **change)
    assert not (tmp_path / "run" / "config.json").exists()


# --- does it help? ---


@pytest.mark.parametrize(
    ("difference", "sentence"),
    [
        ((0.10, 0.06, 0.14), "The unlabeled samples helped: 80.0 % with them, 70.0 % without."),
        ((-0.10, -0.14, -0.06), "The unlabeled samples made it worse here; usual causes"),
        ((0.01, -0.03, 0.05), "cannot be told"),
    ],
)
def test_it_is_said_whether_the_unlabeled_samples_helped(difference, sentence):
    middle, low, high = difference
    floor = {"accuracy": 0.7, "interval": [0.65, 0.75]}
    gains = {"without-unlabeled": {"difference": middle, "interval": [low, high], "more_test_samples": None}}
    score = {"accuracy": 0.8, "interval": [0.75, 0.85], "samples": 400, "unlabeled": "fixmatch", "gains": gains}
    assert sentence in Classifier().second_sentence(score, {"without-unlabeled": floor})
    del score["unlabeled"]
    assert Classifier().second_sentence(score, {"without-unlabeled": floor}) is None
