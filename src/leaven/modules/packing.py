"""Attention over texts of different lengths that lie one after another, nearly without padding."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

NAME = "leaven_packed"
STEP = 8
PAIRS_AT_ONCE = 2**21  # of tokens, so that their weights take little memory however long texts are


class Packing(NamedTuple):
    """Where the tokens of a batch of texts lie with little padding, sorted by the texts' lengths.

    flat: (places,) which token of the padded batch, flattened, lies there; where a text is filled up, its last one. positions: (places,) of each
    within its text. real: (places,) where a text is not filled up. groups: how many texts lie side by side that are as long when filled up to a
    multiple of `STEP`, and that length, from the shortest.
    """

    flat: Int64[Tensor, " places"]
    positions: Int64[Tensor, " places"]
    real: Bool[Tensor, " places"]
    groups: list[tuple[int, int]]

    @classmethod
    def of(cls, mask: Bool[Tensor, "batch longest"]) -> Packing:
        lengths = mask.sum(1)
        texts = lengths.argsort(stable=True)
        texts = texts[lengths[texts] > 0]
        lengths = lengths[texts]
        filled = (-(-lengths // STEP) * STEP).clamp(max=int(lengths.max())) if len(lengths) else lengths
        row = torch.arange(len(texts), device=mask.device).repeat_interleave(filled)
        place = torch.arange(len(row), device=mask.device) - (filled.cumsum(0) - filled)[row]
        positions = place.minimum(lengths[row] - 1)
        column = mask[texts].int().argsort(dim=1, descending=True, stable=True)[row, positions]
        groups = []
        for length, count in zip(*(part.tolist() for part in filled.unique_consecutive(return_counts=True)), strict=True):
            most = max(1, PAIRS_AT_ONCE // length**2)
            groups += [(min(most, count - start), length) for start in range(0, count, most)]
        return cls(texts[row] * mask.shape[1] + column, positions, place < lengths[row], groups)

    def unpacked(self, pack: Float[Tensor, "places dim"], shape: torch.Size) -> Float[Tensor, "batch longest dim"]:
        """Tokens in their places, and 0 where there are none."""
        return pack.new_zeros(shape.numel(), pack.shape[1]).index_copy(0, self.flat[self.real], pack[self.real]).unflatten(0, shape)


def packed_attention(
    module: Any,
    query: Float[Tensor, "1 heads places dim"],
    key: Float[Tensor, "1 heads places dim"],
    value: Float[Tensor, "1 heads places dim"],
    attention_mask: object,
    scaling: float | None = None,
    dropout: float = 0.0,
    packing: Packing | None = None,
    **_: Any,
) -> tuple[Float[Tensor, "1 places heads dim"], None]:
    """Each text's tokens attend to each other (to those before, where the module is causal); transformers calls this where attention is `NAME`.

    Texts that are about as long are computed together: they lie side by side, so that few products do.
    """
    assert packing is not None
    causal = bool(getattr(module, "is_causal", False))
    sizes = [count * length for count, length in packing.groups]
    parts = []
    for group, real, *qkv in zip(
        packing.groups, packing.real.split(sizes), *(tensor[0].split(sizes, 1) for tensor in (query, key, value)), strict=True
    ):
        q, k, v = (tensor.unflatten(1, group).transpose(0, 1) for tensor in qkv)
        attended = F.scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, scale=scaling, is_causal=causal, enable_gqa=q.shape[1] != k.shape[1],
            attn_mask=None if causal else real.view(group[0], 1, 1, group[1]),  # what fills a text up comes after all that is real
        )  # fmt: skip
        parts.append(attended.transpose(1, 2).flatten(0, 1))
    return torch.cat(parts)[None], None
