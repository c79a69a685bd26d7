"""Weighted nearest neighbours on frozen features (Wu et al. 2018, Non-Parametric Instance Discrimination, section 3.4)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from leaven.errors import UserError
from leaven.evaluation.intervals import bootstrap_interval

SIMILARITIES_AT_ONCE = 2**25  # 128 MiB of fp32: memory does not grow with the number of queries


@dataclass(frozen=True)
class KnnResult:
    """predictions: (test,) int64 on the CPU. k: the neighbours in fact used, fewer than asked when there were fewer training samples."""

    predictions: Int64[Tensor, "test"]
    k: int


def knn_accuracy(
    train_features: Float[Tensor, "train dim"],
    train_labels: Int64[Tensor, "train"],
    test_features: Float[Tensor, "test dim"],
    test_labels: Int64[Tensor, "test"],
    *,
    k: int = 20,
    temperature: float = 0.07,
    exclude_self: Int64[Tensor, "test"] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Share of test samples that their neighbours name rightly, as {accuracy, interval, k, samples} and a note when k had to be reduced.

    Samples labeled -1 (none) are left out on both sides. The other arguments are those of `knn_predict`.
    """
    # Rows are excluded by position in the whole training set, so unlabeled rows are dropped by mapping those positions.
    known, asked = train_labels >= 0, test_labels >= 0
    if exclude_self is not None:
        position = torch.where(known, known.cumsum(0) - 1, -1)
        exclude_self = torch.where(exclude_self >= 0, position[exclude_self.clamp_min(0)], -1)[asked]
    if not known.any() or not asked.any():
        raise UserError("no labels to score neighbours with", hint="give labels for some training and some test samples")
    classes = int(max(train_labels.max(), test_labels.max())) + 1
    result = knn_predict(
        train_features[known],
        train_labels[known],
        test_features[asked],
        k=k,
        temperature=temperature,
        classes=classes,
        exclude_self=exclude_self,
    )
    correct = result.predictions == test_labels[asked].cpu()
    score: dict[str, Any] = {
        "accuracy": correct.double().mean().item(),
        "interval": list(bootstrap_interval(correct, seed=seed)),
        "k": result.k,
        "samples": len(correct),
    }
    if result.k < k:
        score["note"] = f"k = {result.k} instead of {k}: there are no more training samples"
    return score


def knn_predict(
    train_features: Float[Tensor, "train dim"],
    train_labels: Int64[Tensor, "train"],
    test_features: Float[Tensor, "test dim"],
    *,
    k: int = 20,
    temperature: float = 0.07,
    classes: int | None = None,
    exclude_self: Int64[Tensor, "test"] | None = None,
) -> KnnResult:
    """The class with the largest sum of exp(cosine / temperature) over the k nearest training samples.

    train_labels: 0 .. classes - 1. classes: taken from the training labels if not given. exclude_self: for each query its own row among the
    training samples, which it then cannot find, or -1. Equal similarities go to the lower training row, equal votes to the lower class.
    """
    similarity, index = nearest_neighbours(train_features, test_features, k=k, exclude_self=exclude_self)
    classes = int(train_labels.max()) + 1 if classes is None else classes
    # Relative to the best neighbour, so that no temperature overflows; a common factor changes no vote.
    weights = ((similarity - similarity[:, :1]) / temperature).exp()
    votes = torch.zeros(len(index), classes).scatter_add_(1, train_labels.cpu()[index], weights)
    return KnnResult(votes.argmax(dim=1), index.shape[1])


@torch.no_grad()
def nearest_neighbours(
    train_features: Float[Tensor, "train dim"],
    test_features: Float[Tensor, "test dim"],
    *,
    k: int,
    exclude_self: Int64[Tensor, "test"] | None = None,
) -> tuple[Float[Tensor, "test k"], Int64[Tensor, "test k"]]:
    """Cosine similarities in fp32 and training rows of the k nearest training samples, nearest first, both on the CPU.

    k is cut to the number of training samples (less one with exclude_self). Features that are not finite raise UserError.
    """
    available = len(train_features) - (exclude_self is not None)
    if available < 1 or len(test_features) == 0:
        raise UserError("nearest neighbours need samples on both sides", where=f"{len(train_features)} training, {len(test_features)} test")
    k = min(k, available)
    train, test = unit_rows(train_features), unit_rows(test_features)
    chunk = max(1, SIMILARITIES_AT_ONCE // len(train))
    similarities, indices = [], []
    for start in range(0, len(test), chunk):
        similarity = test[start : start + chunk] @ train.T
        if exclude_self is not None:
            own = exclude_self[start : start + chunk].to(similarity.device)
            rows = (own >= 0).nonzero().squeeze(1)
            similarity[rows, own[rows]] = -torch.inf
        value, index = _largest(similarity, k)
        similarities.append(value.cpu())
        indices.append(index.cpu())
    return torch.cat(similarities), torch.cat(indices)


def nearest_in_blocks(
    blocks: Iterable[Float[Tensor, "block dim"]], test_features: Float[Tensor, "test dim"], *, k: int
) -> tuple[Float[Tensor, "test k"], Int64[Tensor, "test k"]]:
    """`nearest_neighbours` among training features that come a block at a time, so that memory does not grow with their number."""
    similarity, index, start = torch.empty(len(test_features), 0), torch.empty(len(test_features), 0, dtype=torch.int64), 0
    for block in blocks:
        value, row = nearest_neighbours(block, test_features, k=k)
        similarity, index = torch.cat([similarity, value], dim=1), torch.cat([index, row + start], dim=1)
        order = similarity.argsort(dim=1, descending=True, stable=True)[:, :k]  # stable: of equals, the lower row comes first
        similarity, index = similarity.gather(1, order), index.gather(1, order)
        start += len(block)
    return similarity, index


def _largest(similarity: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row, ties to the lower column; torch.topk leaves ties open."""
    value, index = similarity.topk(min(k + 1, similarity.shape[1]), dim=1)
    tied = (value[:, k] == value[:, k - 1]).nonzero().squeeze(1) if value.shape[1] > k else index.new_empty(0)
    index = index[:, :k].contiguous()
    if len(tied):
        rows, threshold = similarity[tied], value[tied, k - 1 : k]
        above, equal = rows > threshold, rows == threshold
        keep = above | (equal & (equal.cumsum(1) <= k - above.sum(1, keepdim=True)))
        index[tied] = keep.nonzero()[:, 1].view(-1, k)
    index = index.sort(dim=1).values
    order = similarity.gather(1, index).argsort(dim=1, descending=True, stable=True)
    index = index.gather(1, order)
    return similarity.gather(1, index), index


def unit_rows(features: Tensor) -> Tensor:
    """Features at unit length, in fp32. UserError where they are not finite."""
    rows = features.detach().flatten(1).float()
    if not torch.isfinite(rows).all():
        raise UserError("features are not finite", hint="the encoder gave NaN or infinity; look at the health verdicts of its run")
    return F.normalize(rows, dim=1)
