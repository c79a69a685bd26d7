"""Attention over texts of different lengths that lie one after another, without padding."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

NAME = "leaven_packed"
GROUPS = 8  # into which texts are sorted by length: more waste less on padding, and take more calls
SMALLEST_GROUP = 16


class Packing(NamedTuple):
    """Where the tokens of a batch of texts lie when only these are kept, sorted by the texts' lengths.

    flat: (tokens,) the places of the tokens in the padded batch, flattened. positions: (tokens,) of each within its text. groups: of texts of similar
    length, their tokens (texts, longest) and where these are, None where all are.
    """

    flat: Int64[Tensor, " tokens"]
    positions: Int64[Tensor, " tokens"]
    groups: list[tuple[Tensor, Tensor | None]]

    @classmethod
    def of(cls, mask: Bool[Tensor, "batch longest"]) -> Packing:
        lengths = mask.sum(1)
        texts = lengths.argsort(stable=True)
        lengths = lengths[texts]
        there = mask[texts]
        row, column = there.nonzero(as_tuple=True)
        starts = lengths.cumsum(0) - lengths
        positions = torch.arange(len(row), device=mask.device) - starts[row]
        groups: list[tuple[Tensor, Tensor | None]] = []
        for part in torch.arange(len(texts), device=mask.device).chunk(max(1, min(GROUPS, len(texts) // SMALLEST_GROUP))):
            place = torch.arange(int(lengths[part[-1]]), device=mask.device)
            real = place < lengths[part, None]
            groups.append(((starts[part, None] + place).clamp(max=max(0, len(row) - 1)), None if bool(real.all()) else real))
        return cls(texts[row] * mask.shape[1] + column, positions, groups)

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
    groups: list[tuple[Tensor, Tensor | None]] | None = None,
    **_: Any,
) -> tuple[Float[Tensor, "1 tokens heads dim"], None]:
    """Each text's tokens attend to each other (to those before, where the module is causal); what transformers calls when attention is `NAME`."""
    assert groups is not None
    causal = bool(getattr(module, "is_causal", False))
    queries, keys, values = (each[0].transpose(0, 1) for each in (query, key, value))
    parts = []
    for index, real in groups:
        mask = None if real is None or causal else real[:, None, None, :]  # texts end in padding, which what comes before never looks at
        q, k, v = (each[index].transpose(1, 2) for each in (queries, keys, values))
        found = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=causal, scale=scaling, enable_gqa=q.shape[1] != k.shape[1]
        ).transpose(1, 2)
        parts.append(found.flatten(0, 1) if real is None else found[real])
    return torch.cat(parts)[None], None
