"""The protocols against plain loops, scikit-learn and known distributions."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import leaven
from leaven.data import open_data
from leaven.encoders import build_encoder
from leaven.errors import UserError
from leaven.evaluation.evaluate import evaluate_protocols
from leaven.evaluation.frozen import Features
from leaven.evaluation.intervals import (
    bootstrap_interval,
    chance,
    crossed_interval,
    holm,
    paired_difference,
    seeds_interval,
    unpaired_difference,
)
from leaven.evaluation.knn import nearest_neighbours
from leaven.evaluation.protocol import Trial
from leaven.evaluation.protocols.few_label import FewLabels, few_label_point, few_label_predictions, label_draws, labels_needed
from leaven.evaluation.protocols.knn import NearestNeighbours
from leaven.evaluation.protocols.linear import held_out_fifth, linear_accuracy, linear_probe, standardisation
from leaven.evaluation.scorecard import Scorecard
from leaven.modalities import modality_of
from leaven.modules.logistic import fit_logistic
from leaven.modules.probes import PROBES, choose_probe


@pytest.fixture(scope="module")
def digits():
    pixels, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))
    x, y = torch.tensor(pixels, dtype=torch.float32)[order], torch.tensor(labels, dtype=torch.int64)[order]
    return x[:1257], y[:1257], x[1257:], y[1257:]


# ---- intervals


def test_bootstrap_interval_of_right_and_wrong_has_the_binomial_quantiles():
    from scipy.stats import binom

    correct = torch.arange(400) < 300
    low, high = bootstrap_interval(correct, resamples=20_000)
    assert low == pytest.approx(binom.ppf(0.025, 400, 0.75) / 400, abs=1 / 400)
    assert high == pytest.approx(binom.ppf(0.975, 400, 0.75) / 400, abs=1 / 400)


def test_bootstrap_interval_of_many_distinct_values_has_the_normal_width():
    values = torch.randn(2000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    low, high = bootstrap_interval(values, resamples=4000)
    assert high - low == pytest.approx(2 * 1.96 * values.std().item() / math.sqrt(2000), rel=0.06)
    assert low < values.mean() < high


def test_all_right_is_not_certainty():
    low, high = bootstrap_interval(torch.ones(100))
    assert (low, high) == (pytest.approx(0.025 ** (1 / 100)), 1.0)
    assert bootstrap_interval(torch.zeros(100)) == (0.0, pytest.approx(1 - 0.025 ** (1 / 100)))


def test_seeds_interval_is_student_t():
    low, high = seeds_interval([0.1, 0.2, 0.3])
    half = 4.302652729911275 * 0.1 / math.sqrt(3)
    assert (low, high) == (pytest.approx(0.2 - half), pytest.approx(0.2 + half))
    with pytest.raises(UserError, match="two"):
        seeds_interval([0.5])


def test_crossed_interval_adds_draws_and_test_samples():
    alike = torch.tensor([[1, 1, 0, 0]] * 5)
    low, high = crossed_interval(alike)
    half = 2.7764451051977987 * math.sqrt((1 / 3) / 4)
    assert half > 0.5
    assert (low, high) == (0.0, 1.0)
    unlike = torch.arange(10_000) < torch.tensor([[5000], [5200], [5400]])
    low, high = crossed_interval(unlike)
    samples = unlike.double().mean(0).var().item() / 10_000
    half = 4.302652729911275 * math.sqrt(0.02**2 / 3 + samples)
    assert (low, high) == (pytest.approx(0.52 - half), pytest.approx(0.52 + half))


def test_groups_are_resampled_and_not_their_samples():
    right = torch.tensor([0.4, 0.6, 0.8]).repeat_interleave(100) > torch.arange(100).repeat(3) / 100
    groups = torch.arange(3).repeat_interleave(100)
    samples, recordings = bootstrap_interval(right), bootstrap_interval(right, groups=groups)
    assert samples[1] - samples[0] < 0.12
    assert recordings == (pytest.approx(0.4), pytest.approx(0.8))  # of three, all resamples that there are
    for one in (bootstrap_interval(right, groups=torch.zeros(300, dtype=torch.int64)), crossed_interval(torch.stack([right] * 2), groups=0 * groups)):
        assert one == (0.0, 1.0)  # one recording says nothing about others
    assert bootstrap_interval(torch.ones(300), groups=groups) == (pytest.approx(0.025 ** (1 / 3)), 1.0)
    assert bootstrap_interval(right, groups=torch.full((300,), -1)) == samples
    low, high = crossed_interval(torch.stack([right] * 5), groups=groups)
    half = 4.302652729911275 * torch.tensor([0.4, 0.6, 0.8]).std().item() / math.sqrt(3)
    assert (low, high) == (pytest.approx(max(0.0, 0.6 - half), abs=1e-3), pytest.approx(min(1.0, 0.6 + half), abs=1e-3))


def test_intervals_over_many_groups_hold_their_mean_95_times_of_100():
    draw, inside = torch.Generator().manual_seed(0), 0
    groups = torch.arange(20).repeat_interleave(15)
    for again in range(200):
        chance = (0.6 + 0.15 * torch.randn(20, generator=draw)).clamp(0, 1)[groups]
        low, high = bootstrap_interval(torch.rand(300, generator=draw) < chance, groups=groups, resamples=300, seed=again)
        inside += low <= 0.6 <= high
    assert 0.9 < inside / 200 <= 0.99


def test_a_paired_difference_knows_that_the_samples_are_the_same():
    ours, theirs = torch.arange(400) < 300, torch.arange(400) < 280
    gain = paired_difference(ours, theirs)
    center = 20 / 402  # Agresti and Min 2005: half a sample more in each cell
    half = 1.959964 * math.sqrt((20 * (1 - center) ** 2 + 380 * center**2) * 400 / 399 + 1) / 402
    assert gain["difference"] == pytest.approx(0.05) and gain["interval"] == pytest.approx([center - half, center + half], abs=1e-4)
    assert gain["interval"][0] > 0 and gain["more_test_samples"] is None
    unpaired = unpaired_difference(0.75, bootstrap_interval(ours), 0.70, bootstrap_interval(theirs))
    assert unpaired["interval"][0] < 0 < unpaired["interval"][1]
    same = paired_difference(ours, ours)
    assert same["interval"] == pytest.approx([-1.96 / 402, 1.96 / 402], abs=1e-5) and same["more_test_samples"] is None
    swapped = paired_difference(theirs, ours)
    assert swapped["interval"] == pytest.approx([-bound for bound in gain["interval"][::-1]])


def test_a_paired_difference_adds_draws_and_counts_groups_once():
    draw = torch.Generator().manual_seed(0)
    theirs = torch.rand(3, 200, generator=draw) < 0.5
    ours = theirs | (torch.rand(3, 200, generator=draw) < torch.tensor([[0.05], [0.2], [0.5]]))
    assert all(paired_difference(ours[draw], theirs[draw])["interval"][0] > 0 for draw in (1, 2))
    together = paired_difference(ours, theirs)
    assert together["interval"][0] < 0 and together["more_test_samples"] is None  # the draws differ, whatever the number of test samples
    assert paired_difference(ours, theirs[:1])["interval"] != together["interval"]  # one draw of a floor stands for all
    groups = torch.arange(4).repeat_interleave(50)
    by_group = torch.tensor([0.0, 0.0, 0.0, 1.0])[groups] * (torch.arange(200) % 2)
    assert (
        paired_difference(by_group, torch.zeros(200))["interval"][0] > 0 > paired_difference(by_group, torch.zeros(200), groups=groups)["interval"][0]
    )
    assert paired_difference(by_group, torch.zeros(200), groups=0 * groups)["interval"] == [-1.0, 1.0]


def test_so_many_more_test_samples_tell_four_times_of_five():
    draw, told = torch.Generator().manual_seed(0), 0

    def two(count):
        kind = torch.rand(count, generator=draw)  # ours is right where theirs is wrong in 12 of 100, the other way round in 8
        return kind < 0.62, (kind < 0.5) | ((kind >= 0.62) & (kind < 0.70))

    needed = (2.8 / 0.04) ** 2 * (0.2 - 0.04**2)  # a difference of 0.04, whose variance is 0.2 - 0.04^2
    ours, theirs = torch.arange(300) < 186, (torch.arange(300) < 150) | ((torch.arange(300) >= 186) & (torch.arange(300) < 210))
    more = paired_difference(ours, theirs)["more_test_samples"]
    assert more == pytest.approx(needed - 300, rel=0.05)
    for _ in range(200):
        told += paired_difference(*two(300 + more))["interval"][0] > 0
    assert 0.7 < told / 200 < 0.9


def test_seeds_and_test_samples_widen_an_interval_together():
    alike = seeds_interval([0.7, 0.7], over_samples=0.02**2)
    assert alike == (pytest.approx(0.7 - 1.96 * 0.02, abs=1e-4), pytest.approx(0.7 + 1.96 * 0.02, abs=1e-4))
    seeds, both = seeds_interval([0.70, 0.72, 0.77]), seeds_interval([0.70, 0.72, 0.77], over_samples=0.02**2)
    halves = [(high - low) / 2 for low, high in (seeds, both)]
    assert halves[1] == pytest.approx(math.hypot(halves[0], 1.959964 * 0.02))
    alone = seeds_interval([0.01, 0.05, 0.03])
    assert (chance([0.01, 0.05, 0.03], over_samples=0.0) < 0.05) == (alone[0] > 0)
    assert chance([0.05], over_samples=0.02**2) == pytest.approx(0.0124, abs=1e-3)
    assert chance([0.0, 0.0], over_samples=0.0) == 1.0 and chance([0.1, 0.1], over_samples=0.0) < 1e-9


def test_several_comparisons_are_corrected_by_holm():
    assert holm([0.01, 0.04, 0.03, 0.005]) == [True, False, False, True]  # against 0.05 / 4, / 3, / 2, / 1: 0.03 stops it
    assert holm([0.02, 0.02, 0.02]) == [False] * 3 and holm([0.02]) == [True]
    assert holm([0.012, 0.06, 0.0001]) == [True, False, True] and holm([]) == []


# ---- nearest neighbours


def knn_by_hand(train, labels, test, k, temperature, classes):
    train, test = train.double() / train.double().norm(dim=1, keepdim=True), test.double() / test.double().norm(dim=1, keepdim=True)
    found = []
    for query in test:
        near = sorted((-float(query @ other), index) for index, other in enumerate(train))[:k]
        votes = [0.0] * classes
        for negative, index in near:
            votes[labels[index]] += math.exp(-negative / temperature)
        found.append(votes.index(max(votes)))
    return found


def test_knn_is_the_plain_loop(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    train, test = torch.randn(80, 5, generator=generator), torch.randn(37, 5, generator=generator)
    labels = torch.randint(4, (80,), generator=generator)
    monkeypatch.setattr("leaven.evaluation.knn.SIMILARITIES_AT_ONCE", 80 * 7)  # several chunks, the last one shorter
    assert NearestNeighbours(9, 0.2).predict(train, labels, test).tolist() == knn_by_hand(train, labels, test, 9, 0.2, 4)


def test_equal_similarities_go_to_the_lower_row_and_a_collapsed_encoder_to_no_accident():
    same = torch.ones(30, 4)
    similarity, index = nearest_neighbours(same, same[:3], k=7)
    assert index.tolist() == [list(range(7))] * 3
    assert similarity == pytest.approx(1.0)
    train = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1e-3], [0.0, 1.0], [0.0, 1.0]])
    assert nearest_neighbours(train, torch.tensor([[0.0, 2.0]]), k=2)[1].tolist() == [[1, 3]]


def test_k_is_cut_to_the_training_samples_and_said():
    score = NearestNeighbours().score(Features(torch.eye(3), torch.arange(3), torch.eye(3), torch.arange(3)))
    assert score["k"] == 3
    assert "k = 3 instead of 20" in score["note"]
    assert score["accuracy"] == 1.0


def test_classes_come_from_train_and_test_together_and_unlabeled_rows_are_left_out():
    train, test = torch.eye(4), torch.eye(4)[[0, 1, 3]]
    score = NearestNeighbours(k=1).score(Features(train, torch.tensor([0, 1, -1, 2]), test, torch.tensor([0, 5, -1])))
    assert (score["accuracy"], score["samples"]) == (0.5, 2)


def test_features_that_are_not_finite_are_refused():
    bad = torch.eye(3).index_fill(1, torch.tensor(0), torch.nan)
    with pytest.raises(UserError, match="not finite"):
        NearestNeighbours().predict(bad, torch.arange(3), torch.eye(3))
    with pytest.raises(UserError, match="not finite"):
        linear_probe(Features(bad, torch.arange(3), torch.eye(3), torch.arange(3)))


# ---- linear probe


def test_logistic_regression_is_that_of_scikit_learn(digits):
    x, y, test, _ = digits
    center, scale = standardisation(x)
    z, l2 = ((x - center) / scale)[:500], 1e-2
    theirs = LogisticRegression(C=1 / (500 * l2), tol=1e-10, max_iter=5000).fit(z.double().numpy(), y[:500].numpy())
    for features, tolerance, close in ((z, 1e-5, 2e-3), (z.double(), 1e-9, 1e-5)):
        ours = fit_logistic(features, y[:500], classes=10, l2=l2, tolerance=tolerance)
        assert ours.converged
        np.testing.assert_allclose(ours.weight.T.numpy(), theirs.coef_, atol=close)
        # A constant shared by all classes is free in the bias, and only there.
        np.testing.assert_allclose((ours.bias[0] - ours.bias.mean()).numpy(), theirs.intercept_ - theirs.intercept_.mean(), atol=close)
        z_test = ((test - center) / scale).to(features.dtype)
        assert ours.logits(z_test).argmax(1).tolist() == theirs.predict(z_test.double().numpy()).tolist()


def test_batched_problems_are_solved_as_if_alone():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(3, 40, 6, generator=generator, dtype=torch.float64), torch.randint(3, (3, 40), generator=generator)
    together = fit_logistic(x, y, classes=3, l2=0.01, tolerance=1e-8)
    for row in range(3):
        alone = fit_logistic(x[row], y[row], classes=3, l2=0.01, tolerance=1e-8)
        assert torch.allclose(together.weight[row], alone.weight, atol=1e-6)


def test_linear_probe_scores_what_tuned_scikit_learn_scores(digits):
    score = linear_accuracy(Features(*digits))
    x, y, test, truth = digits
    center, scale = standardisation(x)
    best = max(
        LogisticRegression(C=c, max_iter=1000).fit(((x - center) / scale).numpy(), y.numpy()).score(((test - center) / scale).numpy(), truth.numpy())
        for c in (0.01, 0.1, 1)
    )
    assert score["converged"]
    assert score["accuracy"] == pytest.approx(best, abs=0.012)
    assert score["interval"][0] < score["accuracy"] < score["interval"][1]


def test_permuted_labels_score_chance(digits):
    x, y, test, truth = digits
    scores = []
    for seed in range(12):  # a class keeps together under any labels, so one permutation alone scatters by about 0.1
        permuted = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))]
        features = Features(x, permuted, test, truth)
        few = FewLabels((10,), draws=2).score(features)[0]
        scores.append([linear_accuracy(features)["accuracy"], NearestNeighbours().score(features)["accuracy"], few["accuracy"]])
    assert np.mean(scores, axis=0) == pytest.approx([0.1, 0.1, 0.1], abs=0.05)


def test_the_choice_of_l2_looks_at_whole_groups():
    # Within a group the label is written in a feature of its own; across groups only feature 0 tells, weakly.
    generator = torch.Generator().manual_seed(0)
    group = torch.arange(40).repeat_interleave(5)
    held = held_out_fifth(torch.zeros(200, dtype=torch.int64), group, seed=3)
    assert 0 < held.sum() <= 40
    assert all(len(set(held[group == number].tolist())) == 1 for number in range(40))
    labels = (group % 2).long()
    own = torch.eye(40)[group] * 3
    x = torch.cat([own, (labels * 2 - 1)[:, None] + 3 * torch.randn(200, 1, generator=generator)], dim=1)
    leaking = linear_probe(Features(x, labels, x[:5], labels[:5]))
    honest = linear_probe(Features(x, labels, x[:5], labels[:5], group))
    assert honest.l2 >= leaking.l2
    alone = held_out_fifth(labels, torch.full((200,), -1))
    assert alone.sum() == 40


def test_a_fifth_of_every_class_is_held_out_and_one_group_leaves_nothing_to_tune_on():
    labels = torch.arange(3).repeat_interleave(torch.tensor([50, 100, 10]))
    assert labels[held_out_fifth(labels)].bincount().tolist() == [10, 20, 2]
    labels = torch.arange(6) % 2
    probe = linear_probe(Features(torch.eye(6), labels, torch.eye(6), labels, torch.zeros(6, dtype=torch.int64)))
    assert "not tuned" in probe.notes[0]


def test_constant_features_and_features_of_any_scale_do_not_matter(digits):
    x, y, test, truth = digits
    factor = torch.logspace(-4, 4, x.shape[1])
    scaled = linear_probe(Features(x * factor + 7, y, test * factor + 7, truth)).predictions
    assert (scaled == linear_probe(Features(*digits)).predictions).float().mean() > 0.98


# ---- few labels


def test_draws_are_nested_repeatable_and_balanced():
    labels = torch.tensor([0] * 30 + [1] * 3 + [2] * 20 + [-1] * 50)
    two, five = label_draws(labels, 2, 4, seed=7), label_draws(labels, 5, 6, seed=7)
    assert [labels[rows].bincount().tolist() for rows in two] == [[2, 2, 2]] * 4
    assert [labels[rows].bincount().tolist() for rows in five] == [[5, 3, 5]] * 6
    assert all(set(few.tolist()) <= set(more.tolist()) for few, more in zip(two, five, strict=False))
    assert len({tuple(rows.tolist()) for rows in five}) == 6
    assert all(torch.equal(one, again) for one, again in zip(two, label_draws(labels, 2, 9, seed=7), strict=False))


def test_few_label_curve_of_raw_digits(digits):
    curve = FewLabels().score(Features(*digits))
    assert [point["labels_per_class"] for point in curve] == [1, 2, 5, 10]
    for point, expected in zip(curve, (0.65, 0.76, 0.85, 0.90), strict=True):
        assert point["accuracy"] == pytest.approx(expected, abs=0.03)
        assert point["interval"][0] < point["accuracy"] < point["interval"][1]
        assert point["draws"] == 10


def test_the_few_label_probe_is_chosen_in_each_draw_by_its_labels_alone(digits):
    x, y, test, _ = digits
    z, z_test = (x - x.mean(0)) / 5, (test - x.mean(0)) / 5
    rows = torch.stack(label_draws(y, 10, 4))
    ours, _, names = few_label_predictions(z[rows], y[rows[0]], z_test, classes=10)
    for place, draw in enumerate(rows):
        (alone,), _, (name,) = few_label_predictions(z[draw][None], y[draw], z_test, classes=10)
        assert torch.equal(alone, ours[place]) and name == names[place]
        choice = choose_probe(z[draw][None], y[draw], classes=10)
        assert name == list(PROBES)[choice.probe[0]]
    point = FewLabels(counts=(1, 10), draws=4).score(Features(*digits))
    assert point[0]["probe"] == {"ridge": 4} and sum(point[1]["probe"].values()) == 4 and set(point[1]["probe"]) <= set(PROBES)


def test_classes_with_too_few_samples_are_told():
    point = few_label_point(torch.ones(2, 5), 10, torch.tensor([0] * 20 + [1] * 4))
    assert point["note"] == "1 of 2 classes have fewer than 10 training samples and give what they have"
    assert "note" not in few_label_point(torch.ones(2, 5), 4, torch.tensor([0] * 20 + [1] * 4))


# ---- the sentence


def curve(*points, width=0.01):
    return [{"labels_per_class": count, "accuracy": value, "interval": [value - width, value + width]} for count, value in points]


def card(ours, **floors):
    floors = {name.replace("_", "-"): {"few-label": points} for name, points in floors.items()}
    return Scorecard("simclr", "cnn", "digits", {"few-label": ours} if ours else {}, floors)


def test_labels_needed_is_linear_in_accuracy_over_log_labels():
    points = {1: 0.4, 10: 0.6, 100: 0.8}
    assert labels_needed(points, 0.6) == pytest.approx(10)
    assert labels_needed(points, 0.7) == pytest.approx(math.sqrt(1000))
    assert labels_needed(points, 0.2) == 1
    assert labels_needed(points, 0.9) == math.inf
    assert labels_needed({1: 0.5, 2: 0.4, 4: 0.7}, 0.6) == pytest.approx(math.sqrt(8))


def test_scorecard_survives_json_and_shows_floors_beside_scores():
    import json

    first = card(curve((1, 0.5), (10, 0.7)), labels_only=curve((1, 0.4), (10, 0.6), (100, 0.8)), input=curve((1, 0.3)))
    first.scores = {"knn": {"accuracy": 0.84213, "interval": [0.83, 0.854]}, **first.scores}
    again = Scorecard.from_dict(json.loads(json.dumps(first.to_dict())))
    assert again == first
    rows = again.table()
    assert rows[0] == ["", "pre-trained", "raw input", "labels only"]
    assert rows[1] == ["nearest neighbours", "84.2 % (83.0-85.4)", "", ""]
    assert rows[2] == ["1 label per class", "50.0 % (49.0-51.0)", "30.0 % (29.0-31.0)", "40.0 % (39.0-41.0)"]
    assert rows[4] == ["100 labels per class", "", "", "80.0 % (79.0-81.0)"]
    assert first.sentence() in first.text()
    with pytest.raises(UserError, match="colour"):
        Scorecard.from_dict({**first.to_dict(), "colour": 1})


def test_a_floor_that_does_not_fit_the_budget_is_left_out_and_named(tmp_path):
    run = leaven.pretrain("demo:digits", out=tmp_path / "run", steps=1, batch=64, device="cpu", report=False)
    card = leaven.evaluate(run, "demo:digits", protocols=("few-label",), labels_only=0.001, report=False)
    assert "labels only" not in card.floors and any("`labels only` is not measured with 10 labels per class or fewer" in note for note in card.notes)


def test_few_labels_of_many_classes_are_fitted_by_one_probe_and_that_is_said(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    centers, labels = torch.randn(6, 12, generator=generator), torch.arange(180) % 6
    features = centers[labels] + 0.4 * torch.randn(180, 12, generator=generator)
    known = Features(features[:120], labels[:120], features[120:], labels[120:])
    whole = FewLabels(counts=(2,)).score(known)
    monkeypatch.setattr("leaven.evaluation.protocols.few_label.LARGE", 1)
    large = FewLabels(counts=(2,)).score(known)
    assert large[0]["draws"] == 10 and large[0]["probe"] == {"ridge": 10} and "not compared with other probes" in large[0]["note"]
    assert abs(large[0]["accuracy"] - whole[0]["accuracy"]) < 0.1


def test_the_labels_alone_are_measured_with_the_most_labels_first(monkeypatch):
    labeled = []

    def all_right(encoder, data, rows, test, **_):
        labeled.append(len(rows))
        return torch.nn.functional.one_hot(data.rows.label[test], 2).float()

    monkeypatch.setattr("leaven.evaluation.protocols.few_label.trained_on_labels", all_right)
    data = open_data((torch.randn(200, 4, generator=torch.Generator().manual_seed(0)), torch.arange(200) % 2))
    trial = Trial(data, {"x": build_encoder("mlp", data.spec.roles["x"], {"width": 8})}, "none", budget=None)
    card = evaluate_protocols(trial, ("few-label",), {"few-label.counts": (1, 5, 2), "few-label.draws": 3})
    assert labeled == [10] * 3 + [4] * 3 + [2] * 3
    assert [point["labels_per_class"] for point in card.floors["labels-only"]["few-label"]] == [1, 2, 5]
    assert all(point["auc"] == 1 for point in card.floors["labels-only"]["few-label"])
    assert "With 5 labels per class your labels alone do better: 100.0 % against" in card.sentence()


def test_recordings_of_the_test_part_are_counted_once_each():
    generator = torch.Generator().manual_seed(0)
    group = torch.arange(24).repeat_interleave(20)
    labels = torch.randint(2, (480,), generator=generator)
    x = torch.randn(480, 6, generator=generator) + labels[:, None] + 2 * torch.randn(24, 6, generator=generator)[group]
    data = open_data({"x": x, "label": labels, "group": group})
    torch.manual_seed(0)
    encoder = build_encoder("mlp", data.spec.roles["x"], {"width": 8})
    alone = open_data({"x": x, "label": labels})
    alone = dataclasses.replace(alone, splits=dict(zip(("train", "test"), data.held_out()[:2], strict=True)))
    settings = {"few-label.counts": (5,), "few-label.draws": 3}
    protocols = ("knn", "linear", "few-label", "retrieval", "clusters")
    cards = [evaluate_protocols(Trial(one, {"x": encoder}, "none", budget=0), protocols, settings) for one in (data, alone)]
    widths = [[wide(point) for point in points_of(card)] for card in cards]
    ratios = [grouped / single for grouped, single in zip(*widths, strict=True)]
    assert min(ratios) > 1 and sum(ratios) / len(ratios) > 1.2, widths
    assert {"input", "untrained", "majority"} == cards[0].scores["linear"]["gains"].keys() == cards[0].scores["few-label"][0]["gains"].keys()
    assert cards[0].floors["majority"]["knn"]["accuracy"] == cards[0].floors["majority"]["few-label"][0]["accuracy"]
    assert "clusters" not in cards[0].floors["majority"]


def points_of(card):
    return [score[-1] if isinstance(score, list) else score for score in card.scores.values()]


def wide(point):
    return point["interval"][1] - point["interval"][0]


def test_columns_of_very_different_scale_count_alike_in_the_raw_input():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 2
    numbers = torch.stack([labels + 0.1 * torch.randn(200, generator=generator), 1e6 * torch.randn(200, generator=generator)], 1)
    data = open_data((numbers.numpy(), labels.numpy()))
    raw = modality_of(data.rows["x"]).raw_features(data.rows["x"], torch.arange(100))(data.rows["x"])
    assert torch.allclose(raw[:100].std(0, correction=0), torch.ones(2), atol=1e-4)


def test_a_budget_holds_for_the_whole_command_and_names_the_floors_that_it_leaves_out(tmp_path):
    run = leaven.pretrain("demo:digits", out=tmp_path / "run", steps=1, batch=64, device="cpu", report=False)
    card = leaven.evaluate(run, "demo:digits", budget=0.5, report=False)
    assert set(card.scores) == {"knn", "linear", "few-label"} and set(card.floors) == {"majority"}
    (note,) = [note for note in card.notes if "since the budget ends before" in note]
    assert note.startswith("the untrained encoder, the raw input: not scored")
    assert card.sentence()
