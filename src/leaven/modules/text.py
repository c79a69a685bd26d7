"""Tokens from vectors: a softmax over the vocabulary, and texts written one token after another."""

import math
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from leaven.draw import Draw
from leaven.encoders.transformer import CausalTransformer
from leaven.modalities import InputSpec, Tokens
from leaven.modules.writing import written


class VocabularyHead(nn.Module):
    """Features of tokens -> how likely the right token is, by its embedding (Devlin et al. 2019; Press and Wolf 2017).

    plain: without a layer before that. embeddings: of tokens (None: those of the encoder's network).
    """

    def __init__(self, encoder: Any, plain: bool = False, embeddings: nn.Module | None = None):
        super().__init__()
        self.layer = nn.Identity() if plain else nn.Sequential(nn.Linear(encoder.dim, encoder.dim), nn.GELU(), nn.LayerNorm(encoder.dim))
        self.bias = nn.Parameter(torch.zeros(encoder.input.vocabulary))
        self.embeddings: list[Any] = [embeddings or encoder.network.get_input_embeddings()]  # in a list, so that its weights stay the encoder's alone

    def logits(self, features: Float[Tensor, "tokens dim"]) -> Float[Tensor, "tokens vocabulary"]:
        return F.linear(self.layer(features), self.embeddings[0].weight, self.bias)

    def forward(
        self, tokens: Float[Tensor, "batch longest dim"], ids: Int64[Tensor, "batch longest"], predicted: Bool[Tensor, "batch longest"]
    ) -> dict[str, Float[Tensor, " batch"]]:
        """nats: of the `predicted` tokens, summed over each text; count: how many there are; right: for how many the likeliest token is right."""
        text, place = predicted.nonzero(as_tuple=True)
        logits, right = self.logits(tokens[text, place]), ids[text, place]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        empty = logits.new_zeros(len(ids))
        return {
            "nats": empty.index_add(0, text, F.cross_entropy(logits, right, reduction="none")),
            "count": predicted.sum(1).to(logits.dtype),
            "right": empty.index_add(0, text, (logits.argmax(1) == right).to(logits.dtype)),
        }


def hidden_tokens(input: InputSpec, text: Tokens, draw: Draw, ratio: float, masked: float = 0.8, swapped: float = 0.1) -> dict[str, Any]:
    """shown: the text with some tokens hidden; ids: all its tokens; hidden: (batch, longest) bool, which are hidden (Devlin et al. 2019, A.1).

    ratio: share of the tokens that are hidden, special ones never. masked, swapped: shares of these that are replaced by the mask token, and by a
    random one.
    """
    max_length, wide = input.shape[0], text.ids.shape[1]
    chosen, kind = (draw.uniform(len(text), max_length)[:, :wide].to(text.ids.device) for _ in range(2))
    other = draw.integers(input.vocabulary or 1, len(text), max_length)[:, :wide].to(text.ids.device)
    special = torch.tensor(list(input.special.values()), device=text.ids.device)
    hidden = text.mask & (chosen < ratio) & ~torch.isin(text.ids, special)
    shown = torch.where(hidden & (kind < masked), input.special["mask"], text.ids)
    shown = torch.where(hidden & (kind >= masked) & (kind < masked + swapped), other, shown)
    return {"shown": Tokens(shown, text.mask), "ids": text.ids, "hidden": hidden}


def mean_nats(outputs: Any) -> Float[Tensor, ""]:
    """Per token, over all predicted tokens of the batch."""
    return outputs.nats.sum() / outputs.count.sum().clamp(min=1)


def chance_of(encoder: Any) -> float:
    """Nats per token where all tokens are equally likely."""
    return math.log(encoder.input.vocabulary)


class TextDecoder(nn.Module):
    """A causal transformer that gets the vector at every place: it predicts each token from the vector and the tokens before it.

    size: of the vector. The embeddings of tokens are the encoder's, which is left as it is.
    """

    def __init__(self, encoder: Any, size: int, *, depth: int = 1, heads: int = 4, dropout: float = 0.0):
        super().__init__()
        self.input = encoder.input
        self.network = CausalTransformer(encoder.input, width=encoder.dim, depth=depth, heads=heads, dropout=dropout)
        self.network.network.set_input_embeddings(nn.Identity())  # those of the encoder are used
        self.embeddings = [encoder.network.get_input_embeddings()]
        self.told = nn.Linear(size, encoder.dim)
        self.head = VocabularyHead(encoder)

    def states(self, vectors: Float[Tensor, "batch size"], read: Tokens) -> Float[Tensor, "batch longest dim"]:
        embedded = self.embeddings[0](read.ids) + self.told(vectors)[:, None]
        return self.network.states(read.mask, inputs_embeds=embedded)[0]

    def forward(self, vectors: Float[Tensor, "batch size"], text: Tokens, unread: Tensor | None = None) -> dict[str, Float[Tensor, " batch"]]:
        """nats, count and right of all tokens but the first, as `VocabularyHead` gives them. unread: (batch, longest) bool, tokens whose content
        is hidden from the tokens after them."""
        ids = text.ids if unread is None else torch.where(unread, self.input.special["mask"], text.ids)
        states = self.states(vectors, Tokens(ids[:, :-1], text.mask[:, 1:]))
        return self.head(states, text.ids[:, 1:], text.mask[:, 1:])

    @torch.no_grad()
    def write(self, vectors: Float[Tensor, "batch size"], noise: Float[Tensor, "batch longest vocabulary"] | None = None) -> Tokens:
        """A text for each vector: at each place the likeliest token, or one drawn by Gumbel noise."""
        return written(lambda read: self.head.logits(self.states(vectors, read)[:, -1]), len(vectors), self.input, vectors.device, noise)
