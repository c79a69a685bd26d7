"""From a vector back to a text, one token after another."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leaven.encoders.transformer import CausalTransformer
from leaven.modalities import Tokens
from leaven.modules.vocabulary import VocabularyHead


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


def written(logits: Any, count: int, input: Any, device: torch.device, noise: Tensor | None = None) -> Tokens:
    """Texts from the begin token to the end token or the maximum length. logits(read) -> (count, vocabulary)."""
    special = input.special
    ids = torch.full((count, 1), special["begin"], device=device)
    ended = torch.zeros(count, dtype=torch.bool, device=device)
    never = [number for name, number in special.items() if name != "end"]
    for place in range(1, input.shape[0]):
        scores = logits(Tokens(ids, torch.ones_like(ids, dtype=torch.bool))).float()
        scores[:, never] = float("-inf")
        if noise is not None:
            scores = scores + noise[:, place]
        token = torch.where(ended, special["pad"], scores.argmax(1))
        ids = torch.cat([ids, token[:, None]], 1)
        ended |= token == special["end"]
        if ended.all():
            break
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[:, 1:] = ids[:, 1:] != special["pad"]
    return Tokens(ids, mask)


def gumbel(draw: Any, count: int, input: Any) -> Float[Tensor, "count longest vocabulary"]:
    """Noise that, added to logits, makes the largest one a random draw from their softmax."""
    uniform = draw.uniform(count, input.shape[0], input.vocabulary).clamp(min=1e-20)
    return -(-uniform.log()).log()
