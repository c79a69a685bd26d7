"""A vector for each word, and their mean for a text."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leaven.encoders.encoder import Hidden, TokenFeatures
from leaven.encoders.text_reader import TextReader
from leaven.errors import UserError
from leaven.hyperparameters import Width
from leaven.modalities import InputSpec, Tokens, Value


class WordVectors(TextReader):
    """The mean of the vectors of a text's words, where frequent words weigh less: a / (a + p(w)) (Arora et al. 2017, algorithm 1); 0 where no word is
    known. Tokens that begin, end or fill up a text, and unknown ones, count for nothing.

    width: length of a vector. rarity: the a, the share of all words at which a word weighs half as much as a rare one (0: all weigh the same).
    """

    name = "word_vectors"
    offers = ("features", "tokens", "words")

    def __init__(self, input: InputSpec, *, width: Width = 200, rarity: float = 1e-2):
        super().__init__(input, width)
        if rarity < 0:
            raise UserError(f"rarity must be 0 or more, not {rarity}", where="encoder.rarity")
        self.rarity = rarity
        self.vectors = nn.Embedding(input.vocabulary or 1, width)
        nn.init.uniform_(self.vectors.weight, -0.5 / width, 0.5 / width)  # as the authors' program does
        self.register_buffer("weights", torch.ones(input.vocabulary or 1))
        self.register_buffer("special", torch.tensor(sorted(input.special.values()), dtype=torch.int64), persistent=False)

    special: Tensor
    weights: Tensor

    def weigh(self, share: Float[Tensor, " vocabulary"]) -> None:
        """Set the weights from each word's share of all words."""
        self.weights.copy_(self.rarity / (self.rarity + share) if self.rarity else torch.ones_like(share))

    def token_features(self, x: Value | Tensor, keep: Tensor | None = None, *, hidden: Hidden | None = None) -> TokenFeatures:
        read = self.in_tokens(x)
        tokens, weights = self.vectors(read.ids), self.weights[read.ids] * self.words(read)
        features = (tokens * weights[..., None]).sum(1) / weights.sum(1, keepdim=True).clamp(min=1e-12)
        return TokenFeatures(features, tokens, [])

    def words(self, read: Tokens) -> Tensor:
        """(batch, longest) bool: where there is a word that has a vector."""
        return read.mask & ~(read.ids[..., None] == self.special).any(-1)  # ONNX has no isin

    def features_of(self, read: Tokens) -> Float[Tensor, "batch dim"]:
        return self.token_features(read).features
