"""From a text to the vector of a picture that it describes."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F


class Reading(NamedTuple):
    """What the prior knows of each text. text: (batch, dim), one vector. tokens: (batch, tokens, dim), a vector of each token. mask: (batch, tokens),
    where there is a token."""

    text: Tensor
    tokens: Tensor
    mask: Tensor

    def without(self, dropped: Bool[Tensor, " batch"]) -> Reading:
        """The same, but nothing of some texts."""
        return Reading(self.text * ~dropped[:, None], self.tokens, self.mask & ~dropped[:, None])


class Prior(nn.Module):
    """A transformer that tells the vector of a picture from a noisy one and a text (Ramesh et al. 2022, section 2.2; diffusers' PriorTransformer).

    dim: of all vectors. length: tokens of the longest text. width, depth, heads: of the transformer.
    """

    def __init__(self, dim: int, length: int, *, width: int, depth: int, heads: int):
        super().__init__()
        from diffusers import PriorTransformer

        self.length = length
        network = PriorTransformer(heads, width // heads, depth, embedding_dim=dim, num_embeddings=length, clip_embed_dim=dim)
        self.network = cast(Any, network)
        for unused in (self.network.clip_mean, self.network.clip_std):
            unused.requires_grad_(False)

    def forward(self, noisy: Float[Tensor, "batch dim"], level: Int64[Tensor, " batch"], reading: Reading) -> Float[Tensor, "batch dim"]:
        missing = self.length - reading.mask.shape[1]
        tokens, mask = F.pad(reading.tokens, (0, 0, 0, missing)), F.pad(reading.mask, (0, missing))
        return self.network(noisy, level, reading.text, tokens * mask[..., None], mask.to(torch.float32)).predicted_image_embedding
