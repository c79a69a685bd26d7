"""Few labels spread over the graph of nearest neighbours: the mathematics, the protocol and the command."""

import csv

import numpy as np
import pytest
import torch

import leaven
from leaven.evaluation.spreading import neighbour_graph, spread


def connected_graph():
    """A graph of random weights, dense enough to be one piece, and three classes of labels."""
    from scipy.sparse import csr_matrix

    random = np.random.default_rng(0)
    weights = random.random((40, 40)) * (random.random((40, 40)) < 0.4)
    labels = torch.full((40,), -1)
    labels[:9] = torch.arange(9) % 3
    return csr_matrix(np.triu(weights, 1) + np.triu(weights, 1).T), labels


def one_hot(labels):
    return np.where((labels >= 0).numpy()[:, None], np.eye(3)[labels.clamp_min(0).numpy()], 0)


def test_poisson_learning_solves_its_equation():
    graph, labels = connected_graph()
    scores = spread(graph, labels, 3, "poisson").numpy() / 3  # every class has a third of the labels
    dense, known = graph.toarray(), (labels >= 0).numpy()
    sources = np.where(known[:, None], one_hot(labels) - one_hot(labels)[known].mean(0), 0)
    laplacian = np.diag(dense.sum(1)) - dense
    exact = np.linalg.pinv(laplacian) @ sources
    exact -= (dense.sum(1)[:, None] * exact).sum(0) / dense.sum()
    np.testing.assert_allclose(laplacian @ scores, sources, atol=0.05)  # it ends once a random walk is even within 1 / n
    assert (scores.argmax(1) == exact.argmax(1)).mean() >= 0.95


def test_laplace_learning_gives_each_unlabeled_sample_the_mean_of_its_neighbours():
    graph, labels = connected_graph()
    scores, dense = spread(graph, labels, 3, "laplace").numpy(), graph.toarray()
    means = dense @ scores / dense.sum(1, keepdims=True)
    np.testing.assert_allclose(scores[9:], means[9:], atol=1e-4)
    np.testing.assert_array_equal(scores[:9], one_hot(labels)[:9])


def test_label_spreading_reaches_its_closed_form():
    graph, labels = connected_graph()
    dense = graph.toarray()
    root = np.diag(dense.sum(1) ** -0.5)
    exact = 0.01 * np.linalg.inv(np.eye(40) - 0.99 * root @ dense @ root) @ one_hot(labels)
    assert (spread(graph, labels, 3, "spreading").numpy().argmax(1) == exact.argmax(1)).mean() >= 0.95


def test_the_graph_joins_each_sample_with_its_neighbours_and_is_symmetric():
    points = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    graph = neighbour_graph(points, 5)
    assert abs(graph - graph.T).max() == 0 and graph.diagonal().max() == 0
    assert (graph.getnnz(1) >= 5).all() and graph.data.max() <= 1 and graph.data.min() >= np.exp(-4) / 2 - 1e-9


def test_copies_are_joined_with_each_other_and_not_with_themselves():
    points = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    points[20:] = points[:10]
    graph = neighbour_graph(points, 5)
    assert graph.diagonal().max() == 0
    assert all(graph[row, row + 20] == pytest.approx(1, abs=1e-5) for row in range(10))


@pytest.mark.parametrize("by", ["poisson", "laplace", "spreading"])
def test_two_labels_are_enough_for_two_blobs(by):
    generator = torch.Generator().manual_seed(0)
    side = torch.arange(200) % 2
    points = torch.randn(200, 5, generator=generator) + 6 * side[:, None]
    labels = torch.full((200,), -1)
    labels[:2] = side[:2]
    assert (spread(neighbour_graph(points, 10), labels, 2, by).argmax(1) == side).float().mean() > 0.98


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return leaven.pretrain("demo:digits", method="autoencoder", steps=40, out=tmp_path_factory.mktemp("digits") / "run", report=False)


def test_spread_is_scored_beside_its_floors(digits):
    settings = {"spread.counts": (1, 5), "spread.draws": 3}
    card = leaven.evaluate(digits, "demo:digits", protocols=["spread"], settings=settings, report=False).to_dict()
    one, five = card["scores"]["spread"]
    assert one["labels_per_class"] == 1 and five["accuracy"] > one["accuracy"] > 0.4
    assert {"input", "untrained", "majority"} <= set(card["floors"]) and len(card["floors"]["input"]["spread"]) == 2


def test_predict_spreads_the_labels_that_some_samples_have(digits, tmp_path):
    from leaven.data import open_data

    data = open_data("demo:digits")
    rows = torch.arange(len(data))
    pictures, truth = data.rows["x"].pixels[rows], data.rows.label
    few = torch.where(rows < 50, truth, -1)
    predictions = leaven.predict(digits, (pictures, few), spread="poisson", out=tmp_path / "labels.csv")
    right = np.array([int(label) for label in predictions.labels]) == truth.numpy()
    assert right[:50].all() and right[50:].mean() > 0.7
    with open(tmp_path / "labels.csv", newline="") as stream:
        assert len(list(csv.DictReader(stream))) == len(data)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"spread": "butter"}, "do not spread by 'butter'"),
        ({"labels": "few.csv"}, "name the others where they spread"),
        ({"spread": "poisson"}, "labels of two classes"),
    ],
)
def test_what_cannot_spread_is_refused(digits, options, what):
    with pytest.raises(leaven.UserError, match=what):
        leaven.predict(digits, torch.randint(256, (20, 1, 16, 16), dtype=torch.uint8), **options)
    with pytest.raises(leaven.UserError, match="by is one of"):
        leaven.evaluate(digits, "demo:digits", protocols=["spread"], settings={"spread.by": "butter"})
