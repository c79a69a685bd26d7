"""A vector for each word, and their mean for a text."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leaven.data.batch import Text, Tokens, Value
from leaven.data.spec import InputSpec
from leaven.encoders.encoder import Encoder, TokenFeatures
from leaven.encoders.pieces import mean_of_pieces


class WordVectors(Encoder):
    """The mean of the vectors of a text's words; 0 where none is known. Tokens that begin, end or fill up a text, and unknown ones, count for
    nothing.

    width: length of a vector.
    """

    name = "word_vectors"
    offers = ("features", "tokens", "words")
    modalities = ("text",)

    def __init__(self, input: InputSpec, *, width: int = 200):
        super().__init__(input, width)
        self.vectors = nn.Embedding(input.vocabulary or 1, width)
        nn.init.uniform_(self.vectors.weight, -0.5 / width, 0.5 / width)  # as the authors' program does
        self.register_buffer("special", torch.tensor(sorted(input.special.values()), dtype=torch.int64), persistent=False)

    special: Tensor

    def token_features(
        self, x: Value | Tensor, keep: Tensor | None = None, *, hidden: Tensor | None = None, mask_token: Tensor | None = None
    ) -> TokenFeatures:
        read = self.in_tokens(x)
        tokens, words = self.vectors(read.ids), self.words(read)
        features = (tokens * words[..., None]).sum(1) / words.sum(1, keepdim=True).clamp(min=1)
        return TokenFeatures(features, tokens, [])

    def words(self, read: Tokens) -> Tensor:
        """(batch, longest) bool: where there is a word that has a vector."""
        return read.mask & ~torch.isin(read.ids, self.special)

    def forward(self, x: Value | Tensor) -> Float[Tensor, "batch dim"]:
        return mean_of_pieces(self, x) if isinstance(x, Text) else self.token_features(x).features
