"""A text, token by token, from what was read of another sequence."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leaven.draw import Draw
from leaven.encoders.encoder import Places
from leaven.modalities import InputSpec, Tokens
from leaven.modules.attention import LookingDecoder, Memory
from leaven.modules.text import VocabularyHead
from leaven.modules.writing import Decoding, possible


class Writer(nn.Module):
    """P(text | what was read): each token from those before it and from all places that were read (Vaswani et al. 2017, section 3.1).

    input: the text that is written. reads: width of what is read; 0 where nothing is, which makes it a language model.
    """

    def __init__(self, input: InputSpec, reads: int, *, width: int, depth: int, heads: int, dropout: float):
        super().__init__()
        self.input, self.dim = input, width
        self.tokens, self.places = nn.Embedding(input.vocabulary or 1, width), nn.Embedding(input.shape[0], width)
        for embedding in (self.tokens, self.places):
            nn.init.normal_(embedding.weight, std=0.02)
        self.dropout = nn.Dropout(dropout)
        self.decoder = LookingDecoder(width, depth, heads, reads, dropout)
        self.head = VocabularyHead(self, plain=True, embeddings=self.tokens)

    def no_weight_decay(self) -> set[str]:
        return {"tokens.weight", "places.weight"}

    def states(
        self, embedded: Float[Tensor, "batch tokens width"], read: Places | None, first: int = 0, memory: Memory | None = None
    ) -> Float[Tensor, "batch tokens width"]:
        """first: place of the first of these tokens."""
        place = torch.arange(first, first + embedded.shape[1], device=embedded.device)
        seen = (None, None) if read is None else (read.places, read.real)
        return self.decoder(self.dropout(embedded + self.places(place)), *seen, memory)

    def forward(self, text: Tokens, read: Places | None = None, embedded: Tensor | None = None) -> dict[str, Float[Tensor, " batch"]]:
        """nats, count and right of all tokens but the first, the end among them and padding not, as `VocabularyHead` gives them. embedded: stands for
        the embeddings of the tokens."""
        embedded = self.tokens(text.ids) if embedded is None else embedded
        return self.head(self.states(embedded[:, :-1], read), text.ids[:, 1:], text.mask[:, 1:])

    def log_shares(self, text: Tokens, read: Places | None = None) -> Float[Tensor, "batch next vocabulary"]:
        """log P of every token at every place but the first, given the tokens before it, where of the special tokens only the end can follow."""
        logits = self.head.logits(self.states(self.tokens(text.ids[:, :-1]), read))
        return possible(logits.flatten(0, 1), self.input).log_softmax(1).unflatten(0, logits.shape[:2])

    @torch.no_grad()
    def write(self, read: Places, decoding: Decoding, draw: Draw) -> Tokens:
        """A text for each sample that was read."""
        read = Places(*(part if part is None else part.repeat_interleave(decoding.beams, 0) for part in read))  # type: ignore[arg-type]
        memory = Memory()

        def logits(begun: Tokens) -> Tensor:
            place = begun.ids.shape[1] - 1
            return self.head.logits(self.states(self.tokens(begun.ids[:, -1:]), read, place, memory)[:, -1])

        return decoding.write(logits, len(read.places) // decoding.beams, self.input, read.places.device, draw, memory.follow)
