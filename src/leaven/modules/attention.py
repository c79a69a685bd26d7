"""Attention from one sequence to another: queries that pool what was read, and a decoder that looks at it while it writes."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F


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
        self, tokens: Float[Tensor, "batch tokens width"], read: Tensor | None = None, real: Tensor | None = None
    ) -> Float[Tensor, "batch tokens width"]:
        """read: (batch, places, reads), unless causal. real: (batch, places) bool, which of these are looked at (None: all)."""
        normed = self.norm(tokens)
        query = self.query(normed).unflatten(2, (self.heads, -1)).transpose(1, 2)
        key, value = self.key_value(normed if read is None else self.norm_read(read)).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mask = None if real is None else real[:, None, None]
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=self.causal)
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
    """Causal attention, attention to what is read, two linear layers; each is added to its normalised input (Vaswani et al. 2017, section 3.1)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.own, self.other = Attention(width, heads), Attention(width, heads, width)
        self.feed = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Float[Tensor, "batch tokens width"], read: Float[Tensor, "batch places width"]) -> Float[Tensor, "batch tokens width"]:
        tokens = self.other(self.own(tokens), read)
        return tokens + self.feed(tokens)


class LookingDecoder(nn.Module):
    """Tokens that see those before them and all that is read. Padding must come after what is real."""

    def __init__(self, width: int, depth: int, heads: int):
        super().__init__()
        self.layers = nn.ModuleList(LookingLayer(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Float[Tensor, "batch tokens width"], read: Float[Tensor, "batch places width"]) -> Float[Tensor, "batch tokens width"]:
        for layer in self.layers:
            tokens = layer(tokens, read)
        return self.norm(tokens)
