"""Pairs that find each other, clusters beside classes, and the mean of word vectors, against scikit-learn and plain loops."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.metrics import v_measure_score

import leaven
from leaven.errors import UserError
from leaven.evaluation.pairing import cosines, similarities
from leaven.evaluation.protocols.clusters import clusters, v_measure
from leaven.evaluation.protocols.pairs import rank_partners
from leaven.evaluation.protocols.retrieval import rank_samples
from leaven.modalities.text import mean_of_words

SAID = ["play some jazz", "set an alarm", "what is the time", "play a song", "wake me at six", "turn on the light", "book a table", "call my mother"]
HEARD = [
    "play sum jazz",
    "set and alarm",
    "what is the thyme",
    "play a sung",
    "wake me at sicks",
    "turn on the lied",
    "book a cable",
    "call my mutter",
]


def table(classes, groups):
    return np.array([[((classes == c) & (groups == g)).sum() for g in np.unique(groups)] for c in np.unique(classes)])


def test_v_measure_is_scikit_learn_s():
    draw = np.random.default_rng(0)
    for classes, groups in ((3, 5), (4, 4), (2, 1)):
        truth, found = draw.integers(classes, size=200), draw.integers(groups, size=200)
        assert v_measure(table(truth, found)) == pytest.approx(v_measure_score(truth, found))
    assert v_measure(table(truth, truth)) == pytest.approx(1)


def test_clusters_of_separate_classes_are_the_classes_and_those_of_noise_tell_nothing():
    labels = torch.arange(300) % 3
    draw = torch.Generator().manual_seed(0)
    apart = torch.eye(3)[labels] + 0.05 * torch.randn(300, 3, generator=draw)
    found = clusters(apart, labels)
    assert found["v_measure"] == pytest.approx(1) and found["clusters"] == 3 and found["samples"] == 300
    nothing = clusters(torch.randn(300, 8, generator=draw), labels)
    low, high = nothing["interval"]
    assert nothing["v_measure"] < 0.05 and low <= high < 0.1
    some = clusters(apart, torch.where(torch.arange(300) < 150, labels, -1))
    assert some["samples"] == 150
    with pytest.raises(UserError, match="fewer than two"):
        clusters(apart, torch.zeros(300, dtype=torch.int64))


def test_a_partner_that_is_nearest_is_found_and_the_same_content_is_as_right():
    first, second = torch.eye(4), torch.eye(4)
    partner = torch.tensor([0, 1, 2, 2])
    found = rank_samples(similarities(first, second), partner, partner)
    assert found.average.tolist() == pytest.approx([1, 1, (1 + 2 / 4) / 2, (1 + 2 / 4) / 2])
    from scipy.sparse import csr_matrix

    sparse = similarities(csr_matrix(first.numpy()), csr_matrix(second.numpy()))
    assert torch.equal(sparse(torch.arange(4)), torch.eye(4))
    assert cosines(csr_matrix(first.numpy()), csr_matrix(second.numpy())).tolist() == [1, 1, 1, 1]


def test_all_pictures_of_one_caption_are_right_for_it_and_all_its_captions_for_each_of_them():
    caption, picture = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 2, 2])
    first, second = torch.eye(4), torch.eye(4)[[1, 0, 3, 2]]  # each finds the other one of its kind first
    for query, partner in ((caption, picture), (picture, caption)):
        ranking = rank_partners(similarities(first, second), query, partner, (1,))
        expected = [len(set(partner[query == one].tolist())) > 1 or int(partner[row ^ 1]) == int(partner[row]) for row, one in enumerate(query)]
        assert ranking.found[:, 0].tolist() == [float(right) for right in expected]


def test_any_right_partner_counts_and_those_equally_near_lie_in_a_random_order():
    """Against a plain loop over every order of those that are equally near."""
    draw = torch.Generator().manual_seed(0)
    distances, partner = torch.randint(3, (5, 6), generator=draw), torch.tensor([0, 1, 1, 2, 3, 3])
    ranking = rank_samples(lambda rows: 1 - distances[rows].float() / 4, partner, torch.tensor([0, 1, 1, 2, 3]), (1, 2, 5))
    for row, own in enumerate((0, 1, 1, 2, 3)):
        places = []
        for order in itertools.permutations(range(6)):
            nearest = sorted(range(6), key=lambda other: (int(distances[row, other]), order[other]))
            places.append(1 + next(place for place, other in enumerate(nearest) if partner[other] == own))
        assert ranking.place[row] == pytest.approx(np.mean(places))
        assert ranking.found[row] == pytest.approx([np.mean(np.array(places) <= cut) for cut in (1, 2, 5)])


def test_mean_of_words_follows_their_company():
    texts = [f"{who} {does} {what}" for who in ("cat", "dog") for does in ("chases", "fears") for what in ("mice", "rats")]
    texts += [f"{who} {does} {what}" for who in ("bank", "fund") for does in ("buys", "sells") for what in ("bonds", "shares")]
    vector = mean_of_words(texts * 3, 4, seed=0)
    cat, dog, bank = (each / np.linalg.norm(each) for each in vector(["cat", "dog", "bank"]))
    assert cat @ dog > 0.9 > 0.3 > cat @ bank
    assert np.allclose(vector(["cat dog"])[0], vector(["cat", "dog"]).mean(0))
    assert np.allclose(vector(["cat nothing"])[0], vector(["cat"])[0]) and not vector(["nothing known"]).any()


def test_words_of_two_texts_are_no_neighbours():
    """The rarest four, which tell most of each other, span the four directions."""
    apart = mean_of_words(["a b"] * 6 + ["c d"] * 2 + ["e f"], 4, seed=0)(["c", "d", "e", "f"])
    unit = apart / np.linalg.norm(apart, axis=1, keepdims=True)
    assert np.abs(unit[:2] @ unit[2:].T).max() < 1e-6


@pytest.fixture(scope="module")
def pairs_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    rows = [f"{said},{heard}\n" for said, heard in zip(SAID, HEARD, strict=True)]
    rows = [f"{number} {row.replace(',', f',{number} ')}" for number in range(8) for row in rows]
    (folder / "train.csv").write_text("anchor,positive\n" + "".join(rows))
    (folder / "test.csv").write_text("anchor,positive\n" + "".join(rows[::5]))
    settings = {"tokenizer.vocabulary": 300, "encoder.width": 32, "encoder.depth": 1}
    return leaven.pretrain(folder, method="spoken_cse", steps=3, batch=16, settings=settings, out=folder / "run"), folder


def test_pairs_without_classes_are_asked_for_their_partners(pairs_run):
    run, folder = pairs_run
    card = leaven.evaluate(run, folder)
    assert set(card.scores) == {"pairs"} and set(card.floors) == {"input", "characters", "words", "untrained"}
    score = card.scores["pairs"]
    assert score["queries"] == 13 and [point["at"] for point in score["found"]] == [1, 5, 10]
    assert card.floors["characters"]["pairs"]["map"] > 0.8
    assert "found among the first 1" in card.text() and "nDCG at 10" in card.text()
    assert "mean reciprocal rank" in card.sentence()


def test_a_protocol_that_there_is_not_is_one_line(pairs_run):
    run, folder = pairs_run
    with pytest.raises(UserError, match="no protocol is named 'nearest'"):
        leaven.evaluate(run, folder, protocols=("nearest",))
    with pytest.raises(UserError, match="no pairs"):
        leaven.evaluate(run, ["one text", "another text", "a third"], protocols=("pairs",))
