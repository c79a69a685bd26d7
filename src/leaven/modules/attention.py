"""Attention from one sequence to another: queries that pool what was read, and a decoder that looks at it while it writes."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F


class Memory:
    """The keys and values that a decoder's layers have computed for texts that were begun, so that each place is computed once."""

    def __init__(self) -> None:
        self.known: dict[Attention, tuple[Tensor, Tensor]] = {}

    def follow(self, origin: Int64[Tensor, " texts"]) -> None:
        """Texts go on from others, of the same sample, whose numbers these are."""
        self.known = {layer: (key[origin], value[origin]) if layer.causal else (key, value) for layer, (key, value) in self.known.items()}


class Attention(nn.Module):
    """Each place of one sequence adds what it finds in another one (Vaswani et al. 2017, section 3.2), or, causal, in itself up to this place.

    width: of the one that looks. reads: of the one that is looked at.
    """

    def __init__(self, width: int, heads: int, reads: int | None = None):
        super().__init__()
        self.heads, self.causal = heads, reads is None
        self.norm = nn.LayerNorm(width)
        self.norm_read = nn.Identity() if reads is None else nn.LayerNorm(reads)
        self.query, self.key_value, self.out = nn.Linear(width, width), nn.Linear(reads or width, 2 * width), nn.Linear(width, width)

    def forward(
        self, tokens: Float[Tensor, "batch tokens width"], read: Tensor | None = None, real: Tensor | None = None, memory: Memory | None = None
    ) -> Float[Tensor, "batch tokens width"]:
        """read: (batch, places, reads), unless causal. real: (batch, places) bool, which of these are looked at (None: all). memory: what is known of
        earlier tokens, where `tokens` is only the one that follows them."""
        normed = self.norm(tokens)
        query = self.query(normed).unflatten(2, (self.heads, -1)).transpose(1, 2)
        if memory is not None and not self.causal and self in memory.known:
            key, value = memory.known[self]
        else:
            key, value = self.key_value(normed if read is None else self.norm_read(read)).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if memory is not None:
            if self.causal and self in memory.known:
                key, value = (torch.cat(pair, 2) for pair in zip(memory.known[self], (key, value), strict=True))
            memory.known[self] = key, value
        mask = None if real is None else real[:, None, None]
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=self.causal and memory is None)
        return tokens + self.out(found.transpose(1, 2).flatten(2))


class AttentionPooling(nn.Module):
    """A learned number of queries, each with what it finds in the places of a sample (Lee et al. 2019, eq. 11).

    reads: width of the places. width: of the result.
    """

    def __init__(self, reads: int, width: int, queries: int, heads: int):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(queries, width) * 0.02)
        self.attention, self.norm = Attention(width, heads, reads), nn.LayerNorm(width)

    def no_weight_decay(self) -> set[str]:
        return {"queries"}

    def forward(
        self, places: Float[Tensor, "batch places reads"], real: Bool[Tensor, "batch places"] | None = None
    ) -> Float[Tensor, "batch queries width"]:
        return self.norm(self.attention(self.queries.expand(len(places), -1, -1), places, real))


class LookingLayer(nn.Module):
    """Causal attention, attention to what is read, two linear layers; each is added to its normalised input (Vaswani et al. 2017, section 3.1).

    Where nothing is read it is a layer of a language model.
    """

    def __init__(self, width: int, heads: int, reads: int | None, dropout: float = 0.0):
        super().__init__()
        self.own = Attention(width, heads)
        self.other = None if reads is None else Attention(width, heads, reads)
        self.feed = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, tokens: Float[Tensor, "batch tokens width"], read: Tensor | None = None, real: Tensor | None = None, memory: Memory | None = None
    ) -> Float[Tensor, "batch tokens width"]:
        tokens = self.own(tokens, memory=memory)
        if self.other is not None:
            tokens = self.other(tokens, read, real, memory)
        return tokens + self.dropout(self.feed(tokens))


class LookingDecoder(nn.Module):
    """Tokens that see those before them and all that is read. Padding must come after what is real.

    reads: width of what is read; 0 where nothing is (None: that of the tokens).
    """

    def __init__(self, width: int, depth: int, heads: int, reads: int | None = None, dropout: float = 0.0):
        super().__init__()
        reads = width if reads is None else reads or None
        self.layers = nn.ModuleList(LookingLayer(width, heads, reads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(
        self, tokens: Float[Tensor, "batch tokens width"], read: Tensor | None = None, real: Tensor | None = None, memory: Memory | None = None
    ) -> Float[Tensor, "batch tokens width"]:
        """read: (batch, places, reads). real: (batch, places) bool, which of these are looked at (None: all). memory: see `Attention`."""
        for layer in self.layers:
            tokens = layer(tokens, read, real, memory)
        return self.norm(tokens)
