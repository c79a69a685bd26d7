"""Attention over texts of different lengths that lie one after another, without padding."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

NAME = "leaven_packed"


class Packing(NamedTuple):
    """Where the tokens of a batch of texts lie when only these are kept, sorted by the texts' lengths.

    flat: (tokens,) the places of the tokens in the padded batch, flattened. positions: (tokens,) of each within its text. groups: how many texts
    there are of each length, and that length, from the shortest.
    """

    flat: Int64[Tensor, " tokens"]
    positions: Int64[Tensor, " tokens"]
    groups: list[tuple[int, int]]

    @classmethod
    def of(cls, mask: Bool[Tensor, "batch longest"]) -> Packing:
        lengths = mask.sum(1)
        texts = lengths.argsort(stable=True)
        lengths = lengths[texts]
        row, column = mask[texts].nonzero(as_tuple=True)
        starts = lengths.cumsum(0) - lengths
        positions = torch.arange(len(row), device=mask.device) - starts[row]
        each, count = lengths[lengths > 0].unique_consecutive(return_counts=True)
        return cls(texts[row] * mask.shape[1] + column, positions, list(zip(count.tolist(), each.tolist(), strict=True)))

    def unpacked(self, pack: Float[Tensor, "tokens dim"], shape: torch.Size) -> Float[Tensor, "batch longest dim"]:
        """Tokens in their places, and 0 where there are none."""
        return pack.new_zeros(shape.numel(), pack.shape[1]).index_copy(0, self.flat, pack).unflatten(0, shape)


def packed_attention(
    module: Any,
    query: Float[Tensor, "1 heads tokens dim"],
    key: Float[Tensor, "1 heads tokens dim"],
    value: Float[Tensor, "1 heads tokens dim"],
    attention_mask: object,
    scaling: float | None = None,
    dropout: float = 0.0,
    groups: list[tuple[int, int]] | None = None,
    **_: Any,
) -> tuple[Float[Tensor, "1 tokens heads dim"], None]:
    """Each text's tokens attend to each other (to those before, where the module is causal); what transformers calls when attention is `NAME`.

    Texts of one length are computed together: they lie side by side, so that nothing is copied, padded or masked.
    """
    assert groups is not None
    options: dict[str, Any] = {"dropout_p": dropout, "is_causal": bool(getattr(module, "is_causal", False)), "scale": scaling}
    sizes = [count * length for count, length in groups]
    parts = []
    for group, *qkv in zip(groups, *(each[0].split(sizes, 1) for each in (query, key, value)), strict=True):
        q, k, v = (each.unflatten(1, group).transpose(0, 1) for each in qkv)
        found = F.scaled_dot_product_attention(q, k, v, enable_gqa=q.shape[1] != k.shape[1], **options)
        parts.append(found.transpose(1, 2).flatten(0, 1))
    return torch.cat(parts)[None], None
