"""Nearest neighbours of features by cosine."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from leaven.errors import UserError

SIMILARITIES_AT_ONCE = 2**25  # 128 MiB of fp32: memory does not grow with the number of queries


@torch.no_grad()
def nearest_neighbours(
    train_features: Float[Tensor, "train dim"], test_features: Float[Tensor, "test dim"], *, k: int
) -> tuple[Float[Tensor, "test k"], Int64[Tensor, "test k"]]:
    """Cosine similarities in fp32 and training rows of the k nearest training samples, nearest first, both on the CPU.

    k is cut to the number of training samples. Equal similarities go to the lower training row. Features that are not finite raise UserError.
    """
    if not len(train_features) or not len(test_features):
        raise UserError("nearest neighbours need samples on both sides", where=f"{len(train_features)} training, {len(test_features)} test")
    k = min(k, len(train_features))
    train, test = unit_rows(train_features), unit_rows(test_features)
    chunk = max(1, SIMILARITIES_AT_ONCE // len(train))
    parts = [_largest(rows @ train.T, k) for rows in test.split(chunk)]
    similarities, indices = zip(*parts, strict=True)
    return torch.cat(similarities).cpu(), torch.cat(indices).cpu()


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
