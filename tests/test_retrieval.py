"""Search by features against hand-made rankings, plain loops and scikit-learn; the floors beside it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.metrics import average_precision_score, ndcg_score

from leaven.data import open_data
from leaven.encoders import build_encoder
from leaven.errors import UserError
from leaven.evaluation.evaluate import evaluate_protocols
from leaven.evaluation.frozen import Features
from leaven.evaluation.intervals import bootstrap_interval, bootstrap_intervals
from leaven.evaluation.knn import unit_rows
from leaven.evaluation.protocol import Trial
from leaven.evaluation.protocols.retrieval import AT, RECALLS, Retrieval, rank_samples
from leaven.evaluation.scorecard import Scorecard
from leaven.modalities import modality_of


def directions(*degrees):
    """Unit vectors, so that a query at 0 degrees meets them in the order of their angles."""
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], 1).float()


def search(train, labels, queries, wanted):
    """The ranking of the training samples for each query, by cosine."""
    train, queries = unit_rows(train), unit_rows(queries)
    return rank_samples(lambda rows: queries[rows] @ train.T, labels, wanted)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---- by hand


def test_average_precision_of_a_ranking_by_hand():
    train, labels = directions(10, 20, 30, 40, 50), torch.tensor([1, 0, 1, 0, 1])
    found = search(train, labels, directions(0), torch.tensor([1]))
    assert found.average.tolist() == pytest.approx([(1 / 1 + 2 / 3 + 3 / 5) / 3])
    assert found.first.tolist() == [[1.0]]  # there are no 10 training samples
    curve = [1.0] * 4 + [2 / 3] * 3 + [3 / 5] * 4  # recall 1/3, 2/3 and 1
    assert found.curve[0].tolist() == pytest.approx(curve)


def test_interpolated_precision_is_the_highest_at_this_recall_or_a_larger_one():
    train, labels = directions(10, 20, 30, 40), torch.tensor([0, 1, 1, 1])
    found = search(train, labels, directions(0), torch.tensor([1]))
    assert found.average.tolist() == pytest.approx([(1 / 2 + 2 / 3 + 3 / 4) / 3])
    assert found.curve[0].tolist() == pytest.approx([3 / 4] * 11)


def test_the_same_sample_many_times_over_counts_together():
    train, labels = torch.ones(20, 3), (torch.arange(20) < 5).long()
    found = search(train, labels, torch.ones(1, 3), torch.tensor([1]))
    assert found.average.tolist() == pytest.approx([5 / 20]) and found.first[0].tolist() == pytest.approx([5 / 20, 5 / 20])
    backwards = search(train, labels.flip(0), torch.ones(1, 3), torch.tensor([1]))
    assert backwards.average.tolist() == pytest.approx([5 / 20])


def test_precision_where_a_cut_goes_through_equals_is_that_of_a_random_order():
    train = torch.cat([directions(*([5] * 4)), directions(*([50] * 12)), directions(*([80] * 4))])
    labels = torch.tensor([1, 1, 1, 0] + [1] * 3 + [0] * 9 + [0] * 4)
    found = search(train, labels, directions(0), torch.tensor([1]))
    assert found.first[0].tolist() == pytest.approx([3 / 4, (3 + 6 * 3 / 12) / 10])


# ---- against others


@pytest.mark.parametrize("block", [7, 10_000])
@pytest.mark.parametrize("repeated", [False, True])
def test_average_precision_is_scikit_learn_s(monkeypatch, block, repeated):
    monkeypatch.setattr("leaven.evaluation.protocols.retrieval.SIMILARITIES_AT_ONCE", 150 * block)
    train, test = random(150, 6), random(40, 6, seed=1)
    if repeated:
        train, test = train[:50, :4].sign().repeat(3, 1), test[:, :4].sign()  # of length 2, so that cosines are exact whatever the order of sums
    labels = torch.randint(4, (150,), generator=torch.Generator().manual_seed(2))
    asked = torch.randint(4, (40,), generator=torch.Generator().manual_seed(3))
    found = search(train, labels, test, asked)
    nearness = torch.nn.functional.normalize(test) @ torch.nn.functional.normalize(train).T
    for row in range(40):
        truth = (labels == asked[row]).numpy()
        assert found.gain[row] == pytest.approx(ndcg_score(truth[None], nearness[row].double().round(decimals=6).numpy()[None], k=10), abs=1e-9)
        assert found.average[row] == pytest.approx(average_precision_score(truth, nearness[row].numpy()), abs=1e-9)
        if not repeated:
            ranked = truth[nearness[row].argsort(descending=True).numpy()]
            assert found.first[row].tolist() == pytest.approx([ranked[:cut].mean() for cut in AT])
            assert found.recall[row].tolist() == pytest.approx([ranked[:cut].sum() / ranked.sum() for cut in AT])
            precision, recall = ranked.cumsum() / np.arange(1, 151), ranked.cumsum() / ranked.sum()
            assert found.curve[row].tolist() == pytest.approx([precision[recall >= level - 1e-9].max() for level in RECALLS])


def test_gain_of_few_samples_and_of_more_right_ones_than_ten():
    found = search(directions(10, 20, 30), torch.tensor([0, 1, 0]), directions(0), torch.tensor([1]))
    assert found.gain.tolist() == pytest.approx([1 / math.log2(3)])
    all_right = search(directions(*range(1, 21)), torch.ones(20), directions(0), torch.tensor([1]))
    assert all_right.gain.tolist() == pytest.approx([1.0])


def test_scores_are_means_over_queries_with_bootstrap_intervals():
    train, test = random(300, 4), random(80, 4, seed=1)
    labels, asked = torch.arange(300) % 3, torch.arange(80) % 3
    found, score = search(train, labels, test, asked), Retrieval().score(Features(train, labels, test, asked))
    assert score["map"] == pytest.approx(found.average.mean()) and score["queries"] == 80
    assert [point["at"] for point in score["precision"]] == [1, 10, 100]
    assert [point["precision"] for point in score["precision"]] == pytest.approx(found.first.mean(0).tolist())
    assert [point["recall"] for point in score["curve"]] == list(RECALLS)
    low, high = score["interval"]
    assert low < score["map"] < high
    assert (low, high) == pytest.approx(bootstrap_interval(torch.from_numpy(found.average), resamples=4000), abs=0.15 * (high - low))
    chance = torch.tensor(found.average).mean().item()
    assert chance == pytest.approx(1 / 3, abs=0.03)


def test_intervals_of_columns_come_from_the_same_resamples():
    values = torch.rand(200, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    both = torch.cat([values, values.sum(1, keepdim=True)], 1)
    (_, _), (_, _), (low, high) = bootstrap_intervals(both, resamples=2000)
    half = 1.96 * both[:, 2].std().item() / math.sqrt(200)
    assert (low, high) == pytest.approx((both[:, 2].mean().item() - half, both[:, 2].mean().item() + half), abs=0.2 * half)
    assert bootstrap_intervals(torch.ones(5, 1)) == [(1.0, 1.0)]


def test_what_has_no_label_or_no_class_to_find_is_left_out_and_told():
    train, labels = directions(10, 20, 30), torch.tensor([1, 0, -1])
    score = Retrieval().score(Features(train, labels, directions(0, 1, 2), torch.tensor([1, 2, -1])))
    assert score["queries"] == 1 and score["map"] == 1.0 and score["note"].endswith("of their class: 1")
    with pytest.raises(UserError, match="no labels"):
        Retrieval().score(Features(train, labels, directions(0), torch.tensor([-1])))
    with pytest.raises(UserError, match="not finite"):
        Retrieval().score(Features(train * torch.nan, labels, directions(0), torch.tensor([1])))


# ---- floors


def test_a_linear_code_of_counts_is_lsa_and_of_numbers_principal_components_both_of_the_training_part():
    import scipy.sparse as sp

    counts = sp.csr_matrix(np.random.default_rng(0).poisson(0.5, (60, 20)) + np.eye(60, 20, dtype=int) + (np.arange(20) == 0))
    train, test = torch.arange(40), torch.arange(40, 60)
    name, code = modality_of(value := open_data(counts).rows["x"]).linear_code(value, train, 5, seed=0)
    weighed = TfidfTransformer().fit(counts[:40])
    expected = TruncatedSVD(5, random_state=0).fit(weighed.transform(counts[:40])).transform(weighed.transform(counts[40:]))
    assert name == "lsa 5" and np.allclose(code(value.take(test)), expected, atol=1e-5)
    numbers = random(60, 8)
    name, code = modality_of(value := open_data(numbers).rows["x"]).linear_code(value, train, 100, seed=0)
    numbers = (numbers - numbers[:40].mean(0)) / numbers[:40].std(0, correction=0)
    expected = PCA(8, random_state=0).fit(numbers[:40].numpy()).transform(numbers[40:].numpy())
    assert name == "pca 8" and np.allclose(code(value.take(test)), expected, atol=1e-4)


def test_retrieval_stands_beside_its_floors_in_the_scorecard(tmp_path):
    data = open_data("demo:digits")
    encoder = build_encoder("dense", data.spec.roles["x"], {"widths": (16,)})
    card = evaluate_protocols(trial := Trial(data, {"x": encoder}, "none", linear_floor=True), ("retrieval",))
    assert set(card.floors) == {"input", "untrained", "pca 16"}
    assert 0.1 < card.floors["untrained"]["retrieval"]["map"] < card.floors["pca 16"]["retrieval"]["map"]
    assert "few-label" not in card.scores and "labels-only" not in card.floors
    text = card.text()
    assert "retrieval (mAP)" in text and "precision at 100" in text and "pca 16" in text
    best = max(card.floors, key=lambda name: card.floors[name]["retrieval"]["map"])
    assert f"{100 * card.floors[best]['retrieval']['map']:.1f} %" in card.sentence()
    assert Scorecard.from_dict(card.to_dict()).to_dict() == card.to_dict()
    again = evaluate_protocols(replace(trial, known_floors=card.floors), ("retrieval",))
    assert again.floors == card.floors


def test_thousands_of_queries_take_seconds_and_little_memory():
    import time

    train, test = random(6000, 32), random(1000, 32, seed=1)
    began = time.process_time()
    search(train, torch.arange(6000) % 10, test, torch.arange(1000) % 10)
    assert time.process_time() - began < 3  # 10,000 against 60,000 are a hundred times as much
