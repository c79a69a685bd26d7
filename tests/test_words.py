"""Vectors of words that are computed at once."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import CountVectorizer

import leaven
from leaven.modalities.cooccurrence import directions, information, neighbours, spellings

WHO, VERBS, WHAT = ("a cat", "my dog", "one bird"), ("chases", "chased", "eats", "eaten", "watches"), ("mouse", "ball", "worm")
TEXTS = [f"{who} {verb} the {what}" for who, verb, what in itertools.product(WHO, VERBS, WHAT)]


def test_neighbours_are_counted_within_the_window_and_never_across_texts():
    row = np.array([0, 1, 0, 2, -1, -1, 2, 1, -1, -1])
    expected = np.zeros((3, 3))
    for left, right in itertools.product(range(len(row)), repeat=2):
        apart = abs(left - right)
        if 1 <= apart <= 2 and row[left] >= 0 and row[right] >= 0:
            expected[row[left], row[right]] += 1
    assert np.array_equal(neighbours(row, 3, 2).toarray(), expected)
    far = neighbours(np.array([0, 1, 2]), 3, 2, falling=True).toarray()
    assert far[0, 1] == 1 and far[0, 2] == 0.5 and np.array_equal(far, far.T)


def test_information_is_that_of_the_formula():
    counts = np.array([[0, 4, 1], [4, 0, 2], [1, 2, 6.0]])
    found = information(csr_matrix(counts), 0.75).toarray()
    context = counts.sum(0) ** 0.75
    for word, other in itertools.product(range(3), repeat=2):
        if counts[word, other]:
            joint, alone = counts[word, other] / counts.sum(), counts[word].sum() / counts.sum() * context[other] / context.sum()
            assert found[word, other] == pytest.approx(max(0.0, math.log(joint / alone)))


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_directions_keep_the_products_of_rows(power):
    matrix = np.random.default_rng(0).random((6, 6))
    matrix = matrix @ matrix.T
    vectors = directions(csr_matrix(matrix), 5, power, 0)
    values, basis = np.linalg.eigh(matrix)
    expected = (basis[:, 1:] * values[1:] ** (2 * power)) @ basis[:, 1:].T
    assert np.allclose(vectors @ vectors.T, expected)


def test_words_of_one_stem_are_spelled_alike():
    words = CountVectorizer().fit(TEXTS)
    vectors = spellings(list(words.get_feature_names_out()), words.transform(TEXTS), 12, 0)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    number = words.vocabulary_
    alike = unit @ unit.T
    assert alike[number["chases"], number["chased"]] > alike[number["chases"], number["worm"]] + 0.3


def test_without_a_method_texts_get_word_vectors_at_once_and_the_same_twice(tmp_path):
    lines = []
    first, second = (leaven.pretrain(TEXTS, out=tmp_path / name, budget="10m", report=False, say=lines.append) for name in "ab")
    assert first.config["asked"]["method"]["name"] == "ppmi_svd" and first.config["result"]["steps"] == 0
    assert any(line.startswith("method: ppmi_svd (") for line in lines) and "length: no steps (this method is computed at once)" in lines
    weights, again = (leaven.load(run).state_dict() for run in (first, second))
    assert all(torch.equal(tensor, again[name]) for name, tensor in weights.items())


def test_both_parts_of_the_vectors_weigh_the_same_in_a_text(tmp_path):
    run = leaven.pretrain(TEXTS, method="ppmi_svd", out=tmp_path / "run", settings={"encoder.width": 16}, report=False)
    for part in np.split(leaven.embed(run, TEXTS), 2, axis=1):
        assert np.allclose(part.mean(0), 0, atol=1e-5) and np.square(part).sum(1).mean() == pytest.approx(1, abs=1e-4)


def test_a_text_method_with_another_encoder_is_chosen_where_one_is_asked_for(tmp_path):
    run = leaven.pretrain(TEXTS, encoder="transformer", steps=1, batch=8, settings={"encoder.width": 16, "encoder.depth": 1}, out=tmp_path / "run")
    assert run.config["asked"]["method"]["name"] == "simcse"


def test_text_without_words_to_compare_is_refused_in_words(tmp_path):
    with pytest.raises(leaven.UserError, match="fewer than two words"):
        leaven.pretrain(["hm " * count for count in range(1, 9)], method="ppmi_svd", out=tmp_path / "run")


def test_vectors_of_words_leave_as_onnx_with_the_same_features(tmp_path):
    run = leaven.pretrain(TEXTS, out=tmp_path / "run", report=False)
    assert leaven.export(run, to="onnx", out=tmp_path / "words.onnx").difference.relative < 1e-4
