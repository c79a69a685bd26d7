"""Few labels spread over a graph in which every sample is joined with its nearest neighbours: nothing is trained, and all samples take part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy.sparse import csr_matrix, diags
from torch import Tensor
from torch.nn import functional as F

from leaven.errors import UserError
from leaven.evaluation.features import encode
from leaven.evaluation.knn import nearest_neighbours

MOST_STEPS = 1000  # of Poisson learning and of conjugate gradients
ALPHA, ROUNDS = 0.99, 100  # of label spreading, as its paper has it


def neighbour_graph(features: Float[Tensor, "n dim"], k: int = 10) -> csr_matrix:
    """(n, n) symmetric weights exp(-4 d^2 / d_k^2) between each sample and its k nearest ones by the cosine of features around their mean; d_k is the
    distance of the k-th (Calder et al. 2020, section 4)."""
    centred = features.float() - features.float().mean(0)
    cosine, index = nearest_neighbours(centred, centred, k=k + 1)
    distance = (2 - 2 * cosine.double()).clamp_min(0)
    rows = torch.arange(len(index))[:, None].expand_as(index)
    others = rows != index  # a copy of a sample can be nearer in the list than the sample itself
    weight = torch.exp(-4 * distance / distance[:, -1:].clamp_min(1e-12))[others]
    graph = csr_matrix((weight.numpy(), (rows[others].numpy(), index[others].numpy())), shape=(len(index), len(index)))
    return (graph + graph.T) / 2


def spread(graph: csr_matrix, labels: Int64[Tensor, " n"], classes: int, by: str = "poisson") -> Float[Tensor, "n classes"]:
    """Scores of the classes of all samples, the highest names it. labels: -1 where there is none."""
    known, names = (labels >= 0).numpy(), labels.numpy()
    one_hot = np.zeros((len(labels), classes))
    one_hot[known, names[known]] = 1
    return torch.from_numpy(SPREADINGS[by](graph, one_hot, known))


def probabilities_by_spreading(opened: Any, by: str, device: str) -> Iterator[Float[Tensor, "n classes"]]:
    """Of the classes of all samples, from the labels that some have and keep. opened: samples as an encoder reads them. They are not calibrated.
    UserError where labels of two classes are missing."""
    data = opened.data
    if by not in SPREADINGS:
        raise UserError(f"labels do not spread by {by!r}", where="spread", hint=f"choose from {', '.join(SPREADINGS)}")
    if len(data.rows.label[data.rows.label >= 0].unique()) < 2 or data.spec.tag_names:
        raise UserError("spreading needs labels of two classes or more", where=data.name, hint="give a file with --labels")
    features = encode(opened.encoder, opened.samples, torch.arange(len(data)), device=device)
    labels = data.rows.label
    scores = spread(neighbour_graph(features), labels, data.spec.classes, by)
    shares = (scores / scores.std().clamp_min(1e-12)).softmax(1)
    yield torch.where(labels[:, None] < 0, shares, F.one_hot(labels.clamp_min(0), data.spec.classes)).float()


def poisson(graph: csr_matrix, one_hot: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Labels as sources and sinks of a flow (Calder et al. 2020, algorithm 1): unlike the values of `laplace`, it does not fade to a constant where
    labels are few. Every class weighs the same."""
    degree = np.asarray(graph.sum(1)).ravel().clip(1e-12)
    sources = np.zeros_like(one_hot)
    sources[known] = one_hot[known] - one_hot[known].mean(0)
    walk = graph @ diags(1 / degree)  # column-stochastic
    flow = diags(1 / degree) @ graph
    even = degree / degree.sum()
    visits, values = known / known.sum(), np.zeros_like(one_hot)
    for _ in range(MOST_STEPS):
        values = flow @ values + sources / degree[:, None]
        visits = walk @ visits
        if np.abs(visits - even).max() < 1 / len(known):
            break
    shares = one_hot[known].mean(0)
    return values / np.where(shares > 0, shares, 1)


def laplace(graph: csr_matrix, one_hot: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Each unlabeled sample has the mean of its neighbours (Zhu et al. 2003, eq. 5)."""
    from scipy.sparse.linalg import cg

    values = one_hot.copy()
    rest = np.flatnonzero(~known)
    laplacian = (diags(np.asarray(graph.sum(1)).ravel() + 1e-10) - graph).tocsr()
    inner, pulled = laplacian[rest][:, rest], graph[rest][:, np.flatnonzero(known)] @ one_hot[known]
    scale = diags(1 / inner.diagonal())
    for name in range(one_hot.shape[1]):
        values[rest, name], _ = cg(inner, pulled[:, name], rtol=1e-6, maxiter=MOST_STEPS, M=scale)
    return values


def label_spreading(graph: csr_matrix, one_hot: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Each sample takes from its neighbours, and a little from what it had (Zhou et al. 2004, section 2)."""
    root = diags(1 / np.sqrt(np.asarray(graph.sum(1)).ravel().clip(1e-12)))
    smoothing, values = root @ graph @ root, one_hot.copy()
    for _ in range(ROUNDS):
        values = ALPHA * (smoothing @ values) + (1 - ALPHA) * one_hot
    return values


SPREADINGS = {"poisson": poisson, "laplace": laplace, "spreading": label_spreading}
