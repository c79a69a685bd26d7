"""From a few labels to the rest: what moves and what does not, which labels are learned from, when to end, and what the probabilities mean."""

import csv
import json

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_class_weight
from test_resume import assert_identical, final_state, without_clocks
from torch.nn import functional as F

import leaven
from leaven.data import open_data
from leaven.draw import Draw
from leaven.encoders import build_encoder
from leaven.evaluation.classifier import load_classifier
from leaven.evaluation.predictions import Predictions
from leaven.evaluation.protocol import Matrix
from leaven.evaluation.protocols.classifier import calibration_error, classifier_score
from leaven.methods.registry import build_method, find_method
from leaven.methods.supervised.finetune import folds_of, trained_blocks
from leaven.methods.supervised.supervised import beta
from leaven.methods.targets import balanced
from leaven.modalities import InputSpec
from leaven.modules.calibration import best_temperature
from leaven.modules.probes import LINEAR, choose_probe
from leaven.report.figures import matrix_figure
from leaven.training.loop import Training
from leaven.training.optimizers import parameter_groups
from leaven.training.supervision import FIFTH, EarlyStopping, cross_validation, held_out_labels, learned_hashes, supervision

ENCODERS = [("convnet", {"width": 8, "features": 24}), ("vit", {"width": 24, "depth": 3, "heads": 2}), ("resnet18", {}), ("convnext_atto", {})]
ENCODERS += [("vit_tiny_patch16_224", {}), ("mlp", {"width": 8, "depth": 3})]


def encoder_of(name, arguments):
    spec = InputSpec("vector", (5,), (0.0,) * 5, (1.0,) * 5) if name == "mlp" else InputSpec("pixels", (3, 32, 32), (0.5,) * 3, (0.2,) * 3)
    torch.manual_seed(0)
    return build_encoder(name, spec, arguments)


def points(count=240, classes=3, seed=0):
    """Overlapping clouds, so that no classifier is right everywhere."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    return torch.eye(classes)[labels] * 2 + torch.randn(count, classes, generator=generator), labels


def pictures(count=90, seed=0):
    pixels = torch.randint(90, (count, 3, 16, 16), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    labels = torch.arange(count) % 3
    pixels[torch.arange(count), labels] += 120
    return pixels, labels


@pytest.fixture(scope="module")
def picture_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("pictures") / "run"
    return leaven.pretrain(pictures()[0], steps=4, batch=32, out=out, settings={"encoder.width": 8, "encoder.features": 24}, precision="fp32")


@pytest.fixture(scope="module")
def point_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("points") / "run"
    return leaven.pretrain(points()[0], steps=4, batch=64, out=out, settings={"encoder.width": 16}, precision="fp32")


@pytest.fixture(scope="module")
def transformer_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("transformer") / "run"
    small = {"encoder.width": 16, "encoder.depth": 3, "encoder.heads": 2}
    return leaven.pretrain(pictures()[0], encoder="vit", steps=2, batch=32, out=out, settings=small, precision="fp32")


# --- depth


@pytest.mark.parametrize(("name", "arguments"), ENCODERS)
def test_depths_name_every_parameter_once_in_the_order_in_which_an_input_meets_them(name, arguments):
    encoder = encoder_of(name, arguments).eval()
    blocks = encoder.depths()
    assert sorted(name for names in blocks for name in names) == sorted(name for name, _ in encoder.named_parameters())
    assert len(blocks) >= 3
    depth = {name: number for number, names in enumerate(blocks) for name in names}
    met = []
    for prefix, module in encoder.named_modules():
        for own in {depth[f"{prefix}.{name}".lstrip(".")] for name, _ in module.named_parameters(recurse=False)}:
            module.register_forward_pre_hook(lambda *_, own=own: met.append(own))
    encoder(torch.randn(2, 5) if name == "mlp" else torch.rand(2, 3, 32, 32))
    assert met == sorted(met)
    assert set(met) == set(range(len(blocks)))


@pytest.mark.parametrize(("name", "arguments"), ENCODERS)
def test_learning_rates_fall_with_the_distance_from_the_head(name, arguments):
    encoder = encoder_of(name, arguments)
    data = open_data((torch.randn(6, 5) if name == "mlp" else torch.rand(6, 3, 32, 32), torch.arange(6) % 2))
    method, recipe = build_method(find_method("finetune"), data.spec, {"x": encoder}, {"layer_decay": 0.5})
    scale = {id(parameter): group["lr_scale"] for group in parameter_groups(method, recipe) for parameter in group["params"]}
    blocks = encoder.depths()
    for depth, names in enumerate(blocks):
        assert {scale[id(encoder.get_parameter(name))] for name in names} == {0.5 ** (len(blocks) - depth)}
    assert scale[id(method.classifier.weight)] == scale[id(method.classifier.bias)] == 1.0
    assert len(scale) == sum(parameter.requires_grad for parameter in method.parameters())


@pytest.mark.parametrize(("train", "moving"), [("all", 6), ("last:6", 6), ("last:2", 2), ("head", 0)])
def test_what_does_not_train_stays_as_it_was_to_the_bit_running_statistics_included(train, moving, picture_run, tmp_path):
    settings = {"recipe.lr": 0.01}
    run = leaven.finetune(picture_run, pictures(), train=train, steps=3, batch=30, out=tmp_path / "run", settings=settings, precision="fp32")
    before, after = leaven.load(picture_run), leaven.load(run)
    blocks = before.depths()
    still = {name.rpartition(".")[0] for names in blocks[: len(blocks) - moving] for name in names}
    was = before.state_dict()
    for name, now in after.state_dict().items():
        module = name.rpartition(".")[0]
        if module in still or not module:
            assert torch.equal(was[name], now), name
        else:
            assert not torch.equal(was[name], now), name
    assert len(still) < len({name.rpartition(".")[0] for name in was}) or train == "head"


@pytest.mark.parametrize(
    ("train", "blocks"), [("all", [0, 1, 2, 3]), ("head", []), ("last:1", [3]), ("last:4", [0, 1, 2, 3]), ("first:1", [0]), ("first:3", [0, 1, 2])]
)
def test_parts_to_train_are_counted_in_blocks(train, blocks):
    assert list(trained_blocks(train, 4)) == blocks


@pytest.mark.parametrize("train", ["last:0", "last:5", "last", "first:5", "middle:1", "last:x", ""])
def test_parts_that_there_are_not_are_refused(train):
    with pytest.raises(leaven.UserError, match="last:N or first:N with N from 1 to 4"):
        trained_blocks(train, 4)


@pytest.mark.parametrize("train", ["all", "last:1", "first:1"])
def test_low_rank_changes_of_the_chosen_blocks_end_up_in_an_ordinary_encoder(train, transformer_run, tmp_path):
    run = transformer_run
    settings = {"lora": 2, "probe_first": False, "interpolation": 1.0, "recipe.lr": 0.01}
    tuned = leaven.finetune(run, pictures(), train=train, steps=6, batch=30, out=tmp_path / "run", settings=settings, precision="fp32")
    before, after = leaven.load(run), leaven.load(tuned)
    assert before.state_dict().keys() == after.state_dict().keys()
    blocks = before.depths()
    moving = {name for depth in trained_blocks(train, len(blocks)) for name in blocks[depth]}
    changed = {name for name, was in before.named_parameters() if not torch.equal(was, after.get_parameter(name))}
    assert changed and changed <= moving
    for name in changed:
        assert torch.linalg.matrix_rank(after.get_parameter(name) - before.get_parameter(name), atol=1e-5) <= 2
    assert "bias" not in {name.rpartition(".")[2] for name in changed}
    named = load_classifier(tuned)[0]
    with torch.no_grad():  # what was trained is what was kept
        pixels = torch.from_numpy(pictures()[0][:5].numpy())
        assert torch.allclose(named.features(open_data(pictures()).rows["x"].take(torch.arange(5))), after(pixels), atol=1e-5)


def test_low_rank_changes_are_what_is_trained_before_they_are_merged():
    encoder = encoder_of("vit", {"width": 24, "depth": 3, "heads": 2})
    data = open_data((torch.rand(6, 3, 32, 32), torch.arange(6) % 2))
    method, _ = build_method(find_method("finetune"), data.spec, {"x": encoder}, {"lora": 2, "interpolation": 1.0})
    assert {name.split(".")[0] for name, parameter in method.named_parameters() if parameter.requires_grad} == {"low_rank", "classifier"}
    for wide in method.low_rank.wide.values():
        torch.nn.init.normal_(wide)
    method.eval()
    with torch.no_grad():
        seen, moved = method.read(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))), {}
        method.finish()
        moved = encoder(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(seen, moved, atol=1e-4) and not method.low_rank.changes()["embed.weight"].any()


@pytest.mark.parametrize(("name", "train"), [("resnet18", "all"), ("vit", "head")])
def test_low_rank_changes_need_linear_layers_that_train(name, train):
    data = open_data((torch.rand(6, 3, 32, 32), torch.arange(6) % 2))
    with pytest.raises(leaven.UserError, match="lora changes linear layers"):
        build_method(find_method("finetune"), data.spec, {"x": encoder_of(name, {})}, {"lora": 2, "train": train})


# --- what the labels do


@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_the_classifier_starts_as_logistic_regression_on_many_frozen_features(weights, monkeypatch):
    monkeypatch.setattr("leaven.methods.supervised.supervised.LARGE", 0)
    x, y = points()
    y = torch.where(torch.arange(len(y)) < 120, y, 0)
    data = open_data((x, y))
    encoder = build_encoder("mlp", data.spec.roles["x"], {"width": 16})
    method, _ = build_method(find_method("finetune"), data.spec, {"x": encoder}, {"train": "head", "class_weights": weights})
    method.eval()
    with torch.no_grad():
        method.prepare(lambda function: function(data.rows))
        features = method.encoder(x).double()
        found = method.classify(data.rows["x"]).softmax(1)
    z = (features - features.mean(0)) / features.var(0, correction=0).mean().sqrt()
    theirs = (
        LogisticRegression(C=1 / 9, class_weight=None if weights == "none" else weights, tol=1e-8, max_iter=1000)
        .fit(z.numpy(), y.numpy())
        .predict_proba(z.numpy())
    )
    assert np.allclose(found.numpy(), theirs, atol=1e-4)


def test_the_classifier_starts_as_the_best_linear_probe_of_a_few_labels_as_sure_as_left_out_labels_allow():
    x, y = points(60)
    data = open_data((x, y))
    encoder = build_encoder("mlp", data.spec.roles["x"], {"width": 16})
    method, _ = build_method(find_method("finetune"), data.spec, {"x": encoder}, {})
    with torch.no_grad():
        method.eval().prepare(lambda function: function(data.rows))
        features, logits = method.encoder(x).double(), method.classify(data.rows["x"])
    z = ((features - features.mean(0)) / features.var(0, correction=0).mean().sqrt())[None]
    choice = choose_probe(z.float(), y, classes=3, probes=LINEAR)
    assert choice.probe.tolist() == [0]
    fit = LINEAR["ridge"](z, F.one_hot(y).double(), torch.ones(1, 60).double())
    assert torch.allclose(logits, (fit.scores(z)[0] / best_temperature(choice.scores[0, 0], y)).float(), atol=1e-4)


def test_the_classifier_of_two_classes_and_of_a_class_without_labels_starts_well_too():
    x, y = points(classes=4)
    for kept in (2, 3):
        data = open_data((x, torch.where(y < kept, y, -1))).with_labels([int(label) if label < kept else -1 for label in y], ["a", "b", "c", "d"])
        method, _ = build_method(find_method("finetune"), data.spec, {"x": build_encoder("mlp", data.spec.roles["x"])}, {})
        with torch.no_grad():
            method.eval().prepare(lambda function, rows=data.rows: function(rows))
            found = method.classify(data.rows["x"]).softmax(1)
        assert (found.argmax(1) == y)[y < kept].float().mean() > 0.7
        assert found[:, kept:].max() < 0.5


def test_class_weights_are_inversely_proportional_to_the_counts_and_enter_the_loss_as_such(point_run, tmp_path):
    x, y = points()
    y = torch.where(torch.arange(len(y)) < 120, y, 0)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=y.numpy())
    assert np.allclose(balanced(y, 3).numpy(), expected)
    data = open_data((x, y))
    method, _ = build_method(
        find_method("supervised"), data.spec, {"x": build_encoder("mlp", data.spec.roles["x"], {"width": 8})}, {"class_weights": "balanced"}
    )
    method.prepare(lambda function: function(data.rows))
    outputs = method({"x": data.rows["x"], "label": y})
    weight = torch.tensor(expected, dtype=torch.float32)
    assert torch.allclose(method.loss(outputs)["cross_entropy"], F.cross_entropy(outputs.logits, y, weight=weight, reduction="sum") / len(y))
    run = leaven.finetune(point_run, (x, y), steps=2, out=tmp_path / "run", settings={"class_weights": "balanced"}, all_labels=True)
    assert torch.allclose(load_classifier(run)[0].weights.cpu(), weight)


def test_label_smoothing_spreads_a_share_of_each_target():
    x, y = points(30)
    data = open_data((x, y))
    method, _ = build_method(find_method("supervised"), data.spec, {"x": build_encoder("mlp", data.spec.roles["x"])}, {"label_smoothing": 0.3})
    outputs = method({"x": data.rows["x"], "label": y})
    target = 0.7 * F.one_hot(y, 3) + 0.1
    assert torch.allclose(method.loss(outputs)["cross_entropy"], -(target * outputs.logits.log_softmax(1)).sum(1).mean())


def test_mixup_mixes_features_and_targets_of_neighbours():
    x, y = points(7)
    data = open_data((x, y))
    method, _ = build_method(find_method("supervised"), data.spec, {"x": build_encoder("mlp", data.spec.roles["x"])}, {"mixup": 0.4})
    views = method.eval().views({"labeled": data.rows}, Draw(0))
    share = views["share"]
    assert share.shape == (7, 1) and ((share >= 0) & (share <= 1)).all()
    partner = [1, 0, 3, 2, 5, 4, 6]
    assert views["partner"].tolist() == y[partner].tolist()
    outputs = method(views)
    mixed = share * outputs.features + (1 - share) * outputs.features[partner]
    target = share * F.one_hot(y, 3) + (1 - share) * F.one_hot(y[partner], 3)
    expected = -(target * method.classifier(mixed).log_softmax(1)).sum(1).mean()
    assert method.loss(outputs)["cross_entropy"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_shares_of_mixup_are_drawn_from_beta():
    found = beta(0.4, torch.rand(20_000, generator=torch.Generator().manual_seed(0)))
    assert found.mean().item() == pytest.approx(0.5, abs=0.01) and found.var().item() == pytest.approx(1 / (4 * 1.8), rel=0.03)


def test_what_is_kept_lies_on_the_line_from_the_probe_to_the_end_of_the_training(point_run, tmp_path):
    arguments = {"steps": 10, "all_labels": True, "precision": "fp32"}
    ends = {
        share: load_classifier(leaven.finetune(point_run, points(60), out=tmp_path / str(share), settings={"interpolation": share}, **arguments))[0]
        for share in (0.0, 0.3, 1.0)
    }
    start, between, end = ({name: t for name, t in ends[share].state_dict().items() if t.is_floating_point()} for share in (0.0, 0.3, 1.0))
    for name in start:
        assert torch.allclose(between[name], start[name] + 0.3 * (end[name] - start[name]), atol=1e-6), name
        if name.startswith("encoder."):
            assert torch.equal(start[name], leaven.load(point_run).state_dict()[name.removeprefix("encoder.")])
    assert not torch.equal(start["classifier.weight"], end["classifier.weight"])


def beside(settings, count=12):
    """A method of fine-tuning over some points, what it sees and what comes of it."""
    x, y = points(count)
    data = open_data((x, y))
    torch.manual_seed(0)
    encoder = build_encoder("mlp", data.spec.roles["x"], {"width": 8})
    method, _ = build_method(find_method("finetune"), data.spec, {"x": encoder}, settings)
    torch.nn.init.normal_(method.classifier.weight, generator=torch.Generator().manual_seed(1))
    return method, method({"x": data.rows["x"], "label": y, "index": torch.arange(count)}), y


def test_contrast_of_classes_is_supervised_contrast_beside_the_cross_entropy():
    method, outputs, y = beside({"contrast": 0.3})
    terms = method.loss(outputs)
    assert set(terms) == {"cross_entropy", "contrast"}
    z = F.normalize(outputs.features, dim=1)
    found = [
        -torch.stack(
            [
                (z[i] @ z[j] / 0.2) - torch.stack([z[i] @ z[k] / 0.2 for k in range(12) if k != i]).logsumexp(0)
                for j in range(12)
                if j != i and y[j] == y[i]
            ]
        ).mean()
        for i in range(12)
    ]
    assert terms["contrast"].item() == pytest.approx(0.3 * torch.stack(found).mean().item(), rel=1e-5)


def test_distillation_holds_a_sample_to_the_logits_that_it_had_when_it_was_last_seen():
    method, outputs, _ = beside({"distillation": 10.0})
    assert method.loss(outputs)["distillation"] == 0  # nothing was seen yet
    logits = outputs.logits.detach()
    seen = torch.arange(12) < 8
    was = torch.randn(12, 3, generator=torch.Generator().manual_seed(2))
    method.before[seen] = was[seen]
    soft = (was / 5).softmax(1)
    expected = (soft * (soft.log() - (logits / 5).log_softmax(1))).sum(1) * 25
    assert method.loss(outputs)["distillation"].item() == pytest.approx(10 * expected[seen].sum().item() / 12, rel=1e-4)
    method.after_step(outputs, 0.5)
    assert torch.equal(method.before, logits)
    assert method.loss(outputs)["distillation"].item() == pytest.approx(0, abs=1e-5)


def test_what_a_sample_was_taken_for_says_what_it_is_like_as_well():
    method, outputs, y = beside({"contrast": 1.0, "distillation": 2.0})
    method.before[:] = torch.randn(12, 3, generator=torch.Generator().manual_seed(3))
    share = method.before.softmax(1)
    weight = (y[:, None] == y).float() + 2 * share @ share.T
    z = F.normalize(outputs.features, dim=1)
    off = ~torch.eye(12, dtype=torch.bool)
    unlikely = (z @ z.T / 0.2).masked_fill(~off, -torch.inf).logsumexp(1, keepdim=True) - z @ z.T / 0.2
    each = (unlikely * weight * off).sum(1) / (weight * off).sum(1)
    assert method.loss(outputs)["contrast"].item() == pytest.approx(each.mean().item(), rel=1e-5)


def test_logits_are_kept_of_every_sample_that_is_learned_from(point_run, tmp_path):
    x, y = points(48)
    y = torch.where(torch.arange(48) % 4 > 0, y, -1)
    arguments = {"steps": 8, "batch": 12, "all_labels": True, "precision": "fp32", "settings": {"contrast": 0.1, "distillation": 10.0}}
    method, *_ = load_classifier(leaven.finetune(point_run, (x, y), out=tmp_path / "run", **arguments))
    assert method.before.shape == (36, 3) and method.before.isfinite().all()


@pytest.mark.parametrize("settings", [{"contrast": -1}, {"distillation": -0.1}])
def test_weights_below_nothing_are_refused(settings):
    with pytest.raises(leaven.UserError, match="must be 0 or more"):
        beside(settings)


# --- which labels


def test_a_fifth_of_every_class_is_held_out_by_content_alone():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        sizes = torch.randint(1, 40, (4,), generator=generator)
        labels = torch.arange(4).repeat_interleave(sizes)
        hashes = torch.randint(-(2**62), 2**62, (len(labels),), generator=generator)
        none = torch.full_like(labels, -1)
        held = held_out_labels(labels, hashes, none)
        assert [int(held[labels == label].sum()) for label in range(4)] == (sizes // FIFTH).tolist()
        order = torch.randperm(len(labels), generator=generator)
        assert torch.equal(held_out_labels(labels[order], hashes[order], none), held[order])


def test_the_same_content_and_the_same_group_stay_on_one_side():
    generator = torch.Generator().manual_seed(0)
    labels, contents = torch.arange(200) % 4, torch.randint(40, (200,), generator=generator)
    held = held_out_labels(labels, contents * 7919, torch.full((200,), -1))
    assert held.any() and all(len(set(held[contents == content].tolist())) == 1 for content in contents.unique())
    groups = torch.randint(12, (200,), generator=generator)
    held = held_out_labels(labels, torch.randint(2**60, (200,), generator=generator), groups)
    assert held.any() and not held.all() and all(len(set(held[groups == group].tolist())) == 1 for group in groups.unique())


def test_no_more_is_held_out_than_it_takes_to_know_when_to_end():
    labels, hashes = torch.zeros(60_000, dtype=torch.int64), torch.arange(60_000)
    assert int(held_out_labels(labels, hashes, torch.full((60_000,), -1)).sum()) == 5000


def test_where_there_is_no_split_the_labels_that_evaluate_tests_on_are_kept():
    data = open_data(points(200))
    _, test, _, note = data.held_out()
    used = supervision(data)
    assert note and not torch.isin(data.hashes[used.members], data.hashes[test]).any()
    assert len(used.members) == 200 - len(test) and len(used.held_out) == 0
    assert "kept for `leaven evaluate`" in used.choices[0]["why"]
    assert len(supervision(data, all_labels=True).members) == 200


def test_too_few_labels_are_all_learned_from_and_that_is_said():
    used = supervision(open_data(points(15)))
    assert len(used.members) == 15
    assert used.choices[0]["why"] == "too few to keep any for `leaven evaluate`"
    assert len(supervision(open_data(points(15)), all_labels=False).members) < 15


def test_only_labeled_samples_of_the_train_split_are_learned_from():
    x, y = points(300)
    data = open_data((x, torch.where(torch.arange(300) % 4 == 0, y, -1)))
    data = leaven.data.DataSet.of(
        "split", data.rows, splits={"train": torch.arange(200), "test": torch.arange(200, 300)}, class_names=("a", "b", "c")
    )
    used = supervision(data, early_stopping=True)
    rows = torch.cat([used.members, used.held_out])
    assert sorted(rows.tolist()) == [row for row in range(200) if row % 4 == 0]
    assert len(used.held_out) == sum(int((y[:200:4] == label).sum()) // FIFTH for label in range(3))


def test_early_stopping_is_for_those_who_have_enough_labels():
    assert len(supervision(open_data(points(1200)), all_labels=True).held_out) == 240
    assert len(supervision(open_data(points(240)), all_labels=True).held_out) == 0
    assert len(supervision(open_data(points(240)), all_labels=True, early_stopping=True).held_out) == 48
    assert len(supervision(open_data(points(1200)), all_labels=True, early_stopping=False).held_out) == 0
    with pytest.raises(leaven.UserError, match="no class has 5 labels"):
        supervision(open_data(points(9)), all_labels=True, early_stopping=True)


# --- when to end


def test_early_stopping_keeps_the_best_state_and_ends_after_its_patience():
    module = torch.nn.Linear(1, 1, bias=False)
    stopping = EarlyStopping(open_data(points(6)).rows, patience=2)
    for step, number in enumerate([3.0, 1.0, 2.0, 0.5, 0.6, 0.7]):
        assert not stopping.ended
        module.weight.data.fill_(step)
        assert stopping.look(step, module, {"loss": number, "other": -number}) == {"loss": number, "other": -number}
    assert stopping.ended
    stopping.restore(module)
    assert module.weight.item() == 3.0
    assert stopping.summary() == {"best_step": 3, "held_out": 6, "loss": 0.5, "other": -0.5}


def overfitting(point_run, out, **more):
    """Far too large a rate on few labels: the best state comes early, and patience ends it before its time."""
    arguments = {"steps": 200, "batch": 32, "early_stopping": True, "patience": 3, "settings": {"recipe.lr": 0.3}, "precision": "fp32"}
    return leaven.finetune(point_run, points(200), out=out, **{**arguments, **more})


def test_the_best_weights_are_what_is_kept(point_run, tmp_path):
    run = overfitting(point_run, tmp_path / "run")
    found = run.config["result"]["early_stopping"]
    assert found["best_step"] < run.config["result"]["steps"] < 200
    looks = [row["held_out_cross_entropy"] for row in run.metrics if "held_out_cross_entropy" in row]
    assert found["held_out_cross_entropy"] == min(looks)
    assert len(looks) - looks.index(min(looks)) - 1 == 3
    classifier, _ = load_classifier(run)
    data = open_data(points(200))
    held = supervision(data, early_stopping=True).held_out
    with torch.no_grad():
        logits = classifier.classify(data.rows.select(held)["x"])
    assert F.cross_entropy(logits, data.rows.label[held]).item() == pytest.approx(found["held_out_cross_entropy"], abs=1e-5)
    assert torch.equal(leaven.load(run).layers[0].weight, classifier.encoder.layers[0].weight)


class Killed(Exception):
    pass


def kill_at(monkeypatch, steps):
    """Cut trainings off after these steps, which are taken from the list as they come."""
    one_step = Training._one_step

    def cut(training):
        one_step(training)
        if steps and training.step >= steps[0]:
            steps.pop(0)
            raise Killed

    monkeypatch.setattr(Training, "_one_step", cut)


def test_a_cut_off_fine_tuning_with_early_stopping_ends_as_if_nothing_had_happened(point_run, tmp_path, monkeypatch):
    whole = overfitting(point_run, tmp_path / "whole")
    last = whole.config["result"]["steps"]
    kill_at(monkeypatch, cuts := [3, 17, last - 1, last])
    while True:
        try:
            run = overfitting(point_run, tmp_path / "cut", checkpoint_seconds=0.0)
            break
        except Killed:
            pass
    assert not cuts
    assert without_clocks(whole) == without_clocks(run)
    assert_identical(final_state(whole), final_state(run))
    assert run.config["result"]["early_stopping"] == whole.config["result"]["early_stopping"]


# --- what the probabilities mean


@pytest.mark.parametrize("temperature", [0.25, 1.0, 4.0])
def test_the_temperature_that_spoiled_the_logits_is_found_again(temperature):
    generator = torch.Generator().manual_seed(0)
    honest = 2 * torch.randn(20_000, 5, generator=generator)
    labels = torch.multinomial(honest.softmax(1), 1, generator=generator)[:, 0]
    assert best_temperature(honest * temperature, labels) == pytest.approx(temperature, rel=0.05)


def test_the_temperature_is_bounded_where_all_labels_are_right_or_wrong():
    logits = torch.eye(4) * 3
    assert 0.01 <= best_temperature(logits, torch.arange(4)) < 0.1
    assert 90 < best_temperature(logits, (torch.arange(4) + 1) % 4) <= 100


def test_calibration_error_by_hand():
    given = torch.tensor([[0.9, 0.1], [0.95, 0.05], [0.42, 0.58], [0.45, 0.55]])
    labels = torch.tensor([0, 1, 1, 0])
    # bins of a fifteenth: 0.9 and 0.95 lie in two of them (0.867-0.933-1), 0.58 and 0.55 both in 0.533-0.6
    expected = (abs(1 - 0.9) + abs(0 - 0.95) + 2 * abs(0.5 - 0.565)) / 4
    assert calibration_error(given, labels) == pytest.approx(expected, abs=1e-6)
    assert calibration_error(given, labels, bins=1) == pytest.approx(abs(0.5 - 0.745), abs=1e-6)


def test_probabilities_on_the_probabilities_of_their_own_labels_are_calibrated():
    generator = torch.Generator().manual_seed(0)
    given = (2 * torch.randn(20_000, 5, generator=generator)).softmax(1)
    labels = torch.multinomial(given, 1, generator=generator)[:, 0]
    assert calibration_error(given, labels) < 0.02 < 0.2 < calibration_error((10 * given.log()).softmax(1), labels)


def test_enough_held_out_labels_set_the_temperature_and_too_few_leave_it(point_run, tmp_path):
    many = leaven.finetune(point_run, points(1200), steps=3, all_labels=True, out=tmp_path / "many")
    few = leaven.finetune(point_run, points(100), steps=3, early_stopping=True, out=tmp_path / "few")
    assert many.config["result"]["early_stopping"]["held_out"] >= 100 > few.config["result"]["early_stopping"]["held_out"]
    assert load_classifier(many)[0].temperature.item() != 1.0 == load_classifier(few)[0].temperature.item()


# --- the probe or the fine-tuned encoder


def compared(point_run, out, count=160, **more):
    settings = {"folds": 2, **more.pop("settings", {})}
    arguments = {"steps": 80, "batch": 32, "all_labels": True, "precision": "fp32", "settings": settings}
    return leaven.finetune(point_run, points(count), out=out, **{**arguments, **more})


def kept(run):
    (choice,) = [choice for choice in run.config["choices"] if choice["what"] == "kept"]
    return choice["value"]


@pytest.fixture(scope="module")
def kept_probe(point_run, tmp_path_factory):
    """Of a fine-tuning that ruins the encoder: far too large a rate, and no way back."""
    lines = []
    out = tmp_path_factory.mktemp("kept") / "run"
    return compared(point_run, out, settings={"recipe.lr": 30.0, "interpolation": 1.0}, keep_going=True, say=lines.append), lines


def test_fine_tuning_that_is_worse_than_its_probe_keeps_the_probe_and_the_encoder_and_says_so(kept_probe, point_run):
    run, lines = kept_probe
    assert kept(run) == "the frozen probe" and sum("kept: the frozen probe" in line for line in lines) == 1
    before, after = leaven.load(point_run).state_dict(), leaven.load(run).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert run.config["result"]["steps"] == 40  # the folds; nothing is left to train
    classifier, _ = load_classifier(run)
    x, y = points(300, seed=5)
    assert (classifier.classify(open_data(x).rows["x"]).argmax(1) == y).float().mean() > 0.7


@pytest.mark.parametrize("settings", [{"train": "head"}, {"train": "last:1"}, {"train": "first:1"}, {"lora": 2}])
def test_the_probe_is_kept_where_any_depth_of_fine_tuning_is_worse(settings, point_run, tmp_path):
    settings = {**settings, "recipe.lr": 30.0, "interpolation": 1.0}
    assert kept(compared(point_run, tmp_path / "run", steps=24, settings=settings, keep_going=True)) == "the frozen probe"


def test_fine_tuning_that_is_better_is_kept(point_run, tmp_path):
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] * x[:, 1] > 0).long()  # no line parts these
    arguments = {"steps": 240, "batch": 50, "all_labels": True, "settings": {"folds": 2, "interpolation": 1.0, "recipe.lr": 0.01}}
    run = leaven.finetune(point_run, (x, y), out=tmp_path / "run", **arguments)
    assert kept(run) == "the fine-tuned encoder" and run.config["result"]["steps"] == 240
    before, after = leaven.load(point_run).state_dict(), leaven.load(run).state_dict()
    assert not all(torch.equal(before[name], after[name]) for name in before)


def test_left_out_labels_set_the_temperature_of_what_is_kept(kept_probe):
    method, _ = load_classifier(kept_probe[0])
    label = open_data(points(160)).rows.label
    assert method.calibrated and method.temperature.item() == pytest.approx(best_temperature(method.left_out[0], label), rel=1e-4)
    assert not kept_probe[0].health


def test_folds_leave_out_the_same_share_of_every_class_and_whole_groups():
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2, 2])
    fold = folds_of(labels, torch.full((9,), -1), 2)
    assert all(abs(int((fold[labels == label] == 0).sum()) * 2 - int((labels == label).sum())) <= 1 for label in range(3))
    groups = torch.tensor([4, 4, 7, 7, 7, 1, 1, 2, 2])
    fold = folds_of(labels, groups, 2)
    assert set(fold.tolist()) == {0, 1} and all(len(fold[groups == group].unique()) == 1 for group in groups.unique())


def test_a_comparison_that_was_cut_off_ends_as_if_nothing_had_happened(point_run, tmp_path, monkeypatch):
    whole = compared(point_run, tmp_path / "whole")
    kill_at(monkeypatch, [5, 20, 33])
    for _ in range(3):
        with pytest.raises(Killed):
            compared(point_run, tmp_path / "cut", checkpoint_seconds=0)
    again = compared(point_run, tmp_path / "cut", checkpoint_seconds=0)
    assert_identical(final_state(again), final_state(whole))
    assert kept(again) == kept(whole)


@pytest.mark.parametrize(("count", "more", "folds"), [(120, {}, 2), (90, {}, 0), (120, {"steps": 100}, 0), (120, {"budget": 30.0}, 0)])
def test_few_labels_and_short_trainings_are_not_compared_and_that_is_said(count, more, folds):
    used = supervision(open_data(points(count)), all_labels=True)
    number, ((choice),) = cross_validation(used, **{"steps": None, "budget": None, **more})
    assert number == folds and choice["value"] == ("2 folds" if folds else "none")
    assert cross_validation(supervision(open_data(points(count)), all_labels=True, early_stopping=True), steps=None, budget=None) == (0, [])


def test_the_default_length_leaves_the_last_stage_as_long_as_before(point_run, tmp_path):
    steps = []
    leaven.finetune(point_run, points(120), all_labels=True, out=tmp_path / "run", say=steps.append)
    run = leaven.Run(tmp_path / "run")
    assert run.config["plan"]["steps"] == 400 and any("cross-validation: 2 folds" in line for line in steps)
    assert load_classifier(run)[0].calibrated


def test_probabilities_that_could_not_be_calibrated_are_said_to_be_so(point_run, tmp_path):
    run = leaven.finetune(point_run, points(60), steps=4, out=tmp_path / "run")
    assert [verdict["verdict"] for verdict in run.health] == ["probabilities not calibrated"]
    lines = []
    predictions = leaven.predict(run, points(60)[0], say=lines.append)
    assert not predictions.calibrated and any("not calibrated" in line for line in lines)


def test_where_no_look_is_better_than_the_start_the_probe_is_kept(point_run, tmp_path):
    run = overfitting(point_run, tmp_path / "run", settings={"recipe.lr": 30.0, "interpolation": 1.0, "recipe.warmup": 0.0}, keep_going=True)
    assert run.config["result"]["early_stopping"]["best_step"] == 0 and kept(run) == "the frozen probe"
    before, after = leaven.load(point_run).state_dict(), leaven.load(run).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_run_of_an_earlier_version_without_folds_is_the_same_run(point_run, tmp_path):
    arguments = {"steps": 220, "all_labels": True, "precision": "fp32", "out": tmp_path / "run"}
    run = leaven.finetune(point_run, points(120), settings={"folds": 0}, **arguments)
    config = run.config
    del config["asked"]["method"]["hyperparameters"]["folds"]
    run.write_config(config)
    lines = []
    leaven.finetune(point_run, points(120), say=lines.append, **arguments)
    assert any("already finished" in line for line in lines)
    assert not load_classifier(run)[0].calibrated


# --- scores


def test_a_classifier_is_scored_as_scikit_learn_does():
    from sklearn.metrics import balanced_accuracy_score, confusion_matrix

    generator = torch.Generator().manual_seed(0)
    given, labels = torch.rand(200, 3, generator=generator).softmax(1), torch.randint(3, (200,), generator=generator)
    score = classifier_score(given, labels, ["ant", "bee", "cat"])
    predicted = given.argmax(1)
    assert score["accuracy"] == (predicted == labels).double().mean().item()
    assert score["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert score["confusion"] == confusion_matrix(labels, predicted).tolist()
    worst = max(((int(((labels == a) & (predicted == b)).sum()), a, b) for a in range(3) for b in range(3) if a != b), key=lambda found: found[0])
    assert score["confused"][0]["count"] == worst[0]
    assert [pair["count"] for pair in score["confused"]] == sorted((pair["count"] for pair in score["confused"]), reverse=True)


def test_a_confusion_matrix_of_very_many_classes_gives_way_to_its_commonest_mistakes():
    given, labels = torch.eye(150)[torch.arange(150).roll(1)], torch.arange(150)
    score = classifier_score(given, labels, [str(number) for number in range(150)])
    assert "confusion" not in score and len(score["confused"]) == 10


def test_the_confusion_figure_holds_the_shares_of_each_row():
    drawn = matrix_figure(Matrix("", "", ["ant", "<bee>"], [[3, 1], [0, 0]]))
    content = json.loads(drawn.partition('json">')[2].partition("</script>")[0])["data"][0]
    assert content["x"] == content["y"] == ["ant", "<bee>"]
    assert content["text"] == [["75", "25"], ["", ""]]
    assert 'aria-label="Confusion of 2 classes' in drawn and "<bee>" not in drawn
    assert matrix_figure(Matrix("", "", [], [])) == ""


# --- predictions


def test_predictions_are_the_softmax_of_the_classifier_in_the_order_of_the_data(picture_run, tmp_path):
    run = leaven.finetune(picture_run, pictures(), steps=3, batch=30, out=tmp_path / "run", precision="fp32")
    found = leaven.predict(run, pictures(40, seed=1)[0], out=tmp_path / "labels.csv")
    classifier, classes = load_classifier(run)
    with torch.no_grad():
        logits = classifier.classifier(classifier.encoder(pictures(40, seed=1)[0])) / classifier.temperature
    assert np.allclose(found.probabilities, logits.softmax(1).numpy(), atol=1e-5)
    assert found.labels == [classes[number] for number in logits.argmax(1)]
    lines = list(csv.DictReader((tmp_path / "labels.csv").open()))
    assert [line["file"] for line in lines] == [str(row) for row in range(40)]
    assert [line["label"] for line in lines] == found.labels
    assert [float(line["probability"]) for line in lines] == pytest.approx(found.probability.tolist(), abs=1e-4)
    assert sum(found.counts.values()) == 40


def test_the_least_sure_come_first_on_request():
    given = np.array([[0.9, 0.05, 0.05], [0.5, 0.45, 0.05], [0.4, 0.3, 0.3], [0.34, 0.33, 0.33]])
    found = Predictions(("a", "b", "c", "d"), ("x", "y", "z"), given).uncertain_first()
    assert found.files == ("d", "b", "c", "a")
    assert found.probabilities[1].tolist() == [0.5, 0.45, 0.05]
    assert sorted(found.margin.tolist()) == found.margin.tolist()


# --- never on what it has learned from


def test_no_label_that_was_learned_from_is_tested_on(point_run, tmp_path):
    x, y = points(400)
    some = torch.where(torch.arange(400) < 200, y, -1)
    run = leaven.finetune(point_run, (x, some), steps=5, out=tmp_path / "run")
    first = leaven.evaluate(run, (x, some), labels_only=20)
    learned = learned_hashes(run)
    data = open_data((x, y))
    fresh = ~torch.isin(data.hashes, learned)
    assert len(learned) == run.config["asked"]["labels"]["learned"] == 200 - int((fresh & (torch.arange(400) < 200)).sum())
    assert first.scores["classifier"]["samples"] == 200 - len(learned)
    more = leaven.evaluate(run, (x, y), labels_only=20)
    assert more.scores["classifier"]["samples"] == int(fresh.sum()) == 400 - len(learned)
    assert {"input", "frozen", "labels-only"} == more.floors.keys()
    assert all(0 < floor["classifier"]["accuracy"] <= 1 for floor in more.floors.values())


def test_a_group_of_which_it_has_learned_a_sample_is_not_tested_on(point_run, tmp_path):
    x, y = points(300)
    group = torch.arange(300) // 10
    some = torch.where(torch.arange(300) % 2 == 0, y, -1)
    run = leaven.finetune(point_run, {"x": x, "label": some, "group": group}, steps=2, out=tmp_path / "run")
    data = open_data({"x": x, "label": y, "group": group})
    learned = torch.isin(data.hashes, learned_hashes(run))
    card = leaven.evaluate(run, {"x": x, "label": y, "group": group}, labels_only=0.001)
    untouched = ~torch.isin(group, group[learned])
    assert card.scores["classifier"]["samples"] == int(untouched.sum()) and untouched.any()


def test_a_classifier_of_all_labels_has_none_left_to_be_tested_on(point_run, tmp_path):
    run = leaven.finetune(point_run, points(60), steps=2, all_labels=True, out=tmp_path / "run")
    with pytest.raises(leaven.UserError, match="no label to test on"):
        leaven.evaluate(run, points(60))


def test_floors_that_cannot_be_measured_are_named(point_run, tmp_path):
    run = leaven.finetune(point_run, points(200), steps=2, out=tmp_path / "run")
    assert any("left of the budget" in note for note in leaven.evaluate(run, points(200), labels_only=0.001).notes)
    elsewhere = leaven.evaluate(run, points(50, seed=9))
    assert elsewhere.floors == {} and any("No floors" in note for note in elsewhere.notes)
    assert "no floor was measured" in elsewhere.sentence()
    config = run.config
    run.write_config({**config, "start": str(tmp_path / "gone")})
    again = leaven.evaluate(run, points(200), labels_only=0.001)
    assert "frozen" not in again.floors and any("No frozen floor" in note for note in again.notes)


def test_frozen_protocols_of_a_fine_tuned_run_leave_learned_labels_out_as_well(point_run, tmp_path):
    x, y = points(300)
    run = leaven.finetune(point_run, (x, y), steps=2, out=tmp_path / "run")
    card = leaven.evaluate(run, (x, y), protocols=("classifier", "knn"), labels_only=0.001)
    assert card.scores["knn"]["samples"] == card.scores["classifier"]["samples"] == 300 - len(learned_hashes(run))
    assert card.floors["input"].keys() == {"classifier", "knn"}


def test_classes_are_matched_by_name(point_run, tmp_path):
    x, y = points(200)
    names = np.array(["ant", "bee", "cat"])[y]
    run = leaven.finetune(point_run, (x, names), steps=20, out=tmp_path / "run")
    later = names.copy()
    later[names == "ant"] = ""  # the others are then classes 0 and 1 of the data, and stay 1 and 2 of the classifier
    a, b = (leaven.evaluate(run, (x, given), labels_only=0.001).scores["classifier"] for given in (names, later))
    assert b["confusion"][1:] == a["confusion"][1:] and sum(b["confusion"][0]) == 0
    with pytest.raises(leaven.UserError, match="no class 'dog'"):
        leaven.evaluate(run, (x, np.where(names == "cat", "dog", names)))


# --- bad input


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (torch.full((60,), -1), "there are none to learn from"),
        (torch.zeros(60, dtype=torch.int64), "all are '0'"),
        ([f"only {number % 1}" for number in range(60)], "all are 'only 0'"),
    ],
)
def test_labels_that_cannot_be_learned_from_are_one_clear_line(labels, told, point_run, tmp_path):
    with pytest.raises(leaven.UserError, match=told):
        leaven.finetune(point_run, (points(60)[0], labels), steps=1, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_class_with_a_single_sample_is_learned_all_the_same(point_run, tmp_path):
    x, y = points(60)
    y = torch.where(torch.arange(60) < 59, y % 2, 2)
    run = leaven.finetune(point_run, (x, y), steps=2, all_labels=True, out=tmp_path / "run")
    assert load_classifier(run)[1] == ("0", "1", "2")


def test_another_modality_or_size_is_one_clear_line(point_run, picture_run, tmp_path):
    with pytest.raises(leaven.UserError, match=r"reads vector, and the data has x \(pixels\)"):
        leaven.finetune(point_run, pictures(), steps=1, out=tmp_path / "run")
    with pytest.raises(leaven.UserError, match="reads 3 numbers per sample, and the data has 4"):
        leaven.finetune(point_run, points(classes=4), steps=1, out=tmp_path / "run")
    with pytest.raises(leaven.UserError, match=r"reads pixels, and the data has x \(vector\)"):
        leaven.finetune(picture_run, points(), steps=1, out=tmp_path / "run")


def test_a_run_without_classes_predicts_nothing(point_run):
    with pytest.raises(leaven.UserError, match="learned no classes"):
        leaven.predict(point_run, points()[0])


def test_an_unfinished_fine_tuning_predicts_nothing(point_run, tmp_path):
    run = leaven.finetune(point_run, points(60), steps=1, out=tmp_path / "run")
    run.write_config({**run.config, "result": None})
    with pytest.raises(leaven.UserError, match="has not finished"):
        leaven.predict(run, points()[0])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"train": "head"}, "hyperparameters.train was all and is now head"),
        ({"all_labels": True}, "labels.learned was"),
        ({"patience": 3}, "labels.patience was 10 and is now 3"),
        ({"steps": 3}, "length.steps was 2 and is now 3"),
    ],
)
def test_another_fine_tuning_into_the_same_folder_is_refused_with_the_difference(change, told, point_run, tmp_path):
    arguments = {"steps": 2, "out": tmp_path / "run"}
    leaven.finetune(point_run, points(60), **arguments)
    said = []
    leaven.finetune(point_run, points(60), **arguments, say=said.append)
    assert any("already finished" in line for line in said)
    with pytest.raises(leaven.UserError, match=told):
        leaven.finetune(point_run, points(60), **{**arguments, **change})


def test_another_run_to_start_from_is_refused(point_run, tmp_path):
    other = leaven.pretrain(points()[0], steps=3, batch=64, out=tmp_path / "other", settings={"encoder.width": 16}, precision="fp32")
    leaven.finetune(point_run, points(60), steps=2, out=tmp_path / "run")
    with pytest.raises(leaven.UserError, match=r"start\.weights was"):
        leaven.finetune(other, points(60), steps=2, out=tmp_path / "run")


# --- the commands


def folder(root, count=60):
    from PIL import Image

    lines = ["file,label"]
    for number, (pixels, label) in enumerate(zip(*pictures(count), strict=True)):
        path = root / "set" / f"part{number % 3}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path)
        lines.append(f"{path.relative_to(root)},{['red', 'green', 'blue'][label]}")
    return lines


def test_the_next_command_tests_on_the_labels_of_the_split_that_there_is(command, picture_run, tmp_path):
    from PIL import Image

    for number, (pixels, label) in enumerate(zip(*pictures(60), strict=True)):
        path = tmp_path / "data" / ("test" if number % 3 == 0 and number > 20 else "train") / ["red", "green", "blue"][label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path)
    trained = sorted((tmp_path / "data" / "train").rglob("*.png"))
    (tmp_path / "some.csv").write_text("\n".join(["file,label", *(f"{path.relative_to(tmp_path / 'data')},{path.parent.name}" for path in trained)]))
    words = [picture_run.path, tmp_path / "data", "--labels", tmp_path / "some.csv", "--steps", 2, "--out", tmp_path / "run"]
    status, out, _ = command("finetune", *words)
    (line,) = [line for line in out.splitlines() if line.startswith("Next: ")]
    assert status == 0 and line.startswith(f"Next: leaven evaluate {tmp_path / 'run'} {tmp_path / 'data'}, and")
    status, out, _ = command("evaluate", tmp_path / "run", tmp_path / "data", "--labels-only", "1s")
    assert status == 0 and "(test:" in out


def test_from_some_labels_to_all_of_them(command, picture_run, tmp_path):
    lines = folder(tmp_path / "data")
    (tmp_path / "some.csv").write_text("\n".join(lines[:46]))
    labels = ["--labels", tmp_path / "some.csv"]
    status, out, err = command("finetune", picture_run.path, tmp_path / "data", *labels, "--steps", 20, "--out", tmp_path / "run", "--json")
    told = json.loads(out)
    assert status == 0, err
    assert told["classes"] == ["blue", "green", "red"] and told["labels"] < 45 and told["steps"] == 20
    assert "kept for `leaven evaluate`" in err
    status, out, err = command("predict", tmp_path / "run", tmp_path / "data", "--out", tmp_path / "all.csv", "--uncertain-first", "--json")
    told = json.loads(out)
    assert (status, told["count"], told["dim"]) == (0, 60, 3)
    found = list(csv.DictReader((tmp_path / "all.csv").open()))
    assert {line["file"] for line in found} == {line.split(",")[0] for line in lines[1:]}
    status, out, err = command("evaluate", tmp_path / "run", tmp_path / "data", *labels, "--labels-only", "20s", "--json")
    told = json.loads(out)
    assert status == 0, err
    score = told["scores"]["classifier"]
    assert {"accuracy", "interval", "balanced_accuracy", "calibration_error", "confusion"} <= score.keys()
    assert {"input", "frozen", "labels-only"} == told["floors"].keys()
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Which classes are confused" in page and "fine-tuned" in page
    status, out, _ = command("evaluate", tmp_path / "run", tmp_path / "data", *labels, "--labels-only", "1s")
    assert status == 0 and "calibration error" in out and "names" in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["finetune", "/no/run", "demo:digits"], "no run here"),
        (["finetune", "RUN", "DATA", "--steps", "1"], "there are none to learn from"),
        (["finetune", "RUN", "DATA", "--labels", "wrong.csv", "--steps", "1"], "2 of 2 labels match no file"),
        (["finetune", "RUN", "DATA", "--labels", "some.csv", "--train", "last:99"], "choose all, head, last:N or first:N with N from 1 to 6"),
        (["finetune", "RUN", "DATA", "--labels", "some.csv", "--set", "encoder.width=3"], "the encoder is that of the run"),
        (["finetune", "RUN", "DATA", "--labels", "some.csv", "--set", "class_weights=heavy"], "choose none or balanced"),
        (["finetune", "RUN", "DATA", "--labels", "some.csv", "--set", "layer_decay=2"], "layer_decay must be"),
        (["finetune", "RUN", "DATA", "--labels", "some.csv", "--set", "rare_classes=heavy"], "choose none, weights, sampling or logit_adjustment"),
        (["finetune", "RUN", "DATA", "--labels", "some.csv", "--set", "lora=-1"], "lora must be"),
        (["predict", "RUN", "DATA", "--out", "labels.csv"], "learned no classes"),
        (["predict", "/no/run", "DATA", "--out", "labels.csv"], "no run here"),
        (["predict", "RUN", "DATA", "--out", "labels.txt"], ".csv"),
    ],
)
def test_wrong_input_is_one_clear_line_and_status_2(words, told, command, picture_run, tmp_path, monkeypatch):
    lines = folder(tmp_path / "data", 30)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some.csv").write_text("\n".join(lines))
    (tmp_path / "wrong.csv").write_text("file,label\nno.png,a\nnor.png,b\n")
    status, out, err = command(*[{"RUN": picture_run.path, "DATA": tmp_path / "data"}.get(word, word) for word in words])
    assert status == 2
    last = err.strip().splitlines()[-1]
    assert last.startswith("leaven: ") and told in last
    assert "Traceback" not in err and not out
    assert not list(tmp_path.glob("labels.*")) and not list(tmp_path.rglob("config.json"))
