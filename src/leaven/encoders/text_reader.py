"""What encoders of text share: they read tokens, and texts of any length in pieces whose features are averaged."""

from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from leaven.encoders.encoder import Encoder
from leaven.errors import UserError
from leaven.modalities import Text, Tokens, Value
from leaven.modalities.text import as_written

AT_ONCE = 256


class TextReader(Encoder):
    """An encoder of tokens. `tokenizer` turns texts into tokens."""

    modalities = ("text",)

    def in_tokens(self, x: Value | Tensor) -> Tokens:
        """Texts in tokens. Numbers (batch, tokens) are their ids; those of padding are left out."""
        if isinstance(x, Tensor):
            return Tokens(x, x != self.input.special.get("pad", -1))
        if as_written(x):
            tokens = self._tokenizer()(x)
            return tokens[torch.arange(len(tokens))].to(self.scale.device)
        self.expect(x)
        return x  # type: ignore[return-value]

    @property
    def token_grid(self) -> tuple[int, int]:
        return 1, self.input.shape[0]

    def real_tokens(self, x: Value | Tensor) -> Bool[Tensor, "batch tokens"]:
        return self.in_tokens(x).mask

    def forward(self, x: Value | Tensor) -> Float[Tensor, "batch dim"]:
        """Texts as they were written are read whole, in pieces."""
        return self.mean_of_pieces(x) if as_written(x) else self.features_of(self.in_tokens(x))

    @abstractmethod
    def features_of(self, read: Tokens) -> Float[Tensor, "batch dim"]:
        """The features of texts that are no longer than what is read at once."""

    def mean_of_pieces(self, texts: Text) -> Float[Tensor, "texts dim"]:
        """The features of whole texts: the mean over their pieces, weighted by the number of tokens."""
        pieces, text = self._tokenizer().pieces(texts)
        special = torch.tensor(list(self.input.special.values()))
        outputs, counts = [], []
        for some in torch.arange(len(text)).split(AT_ONCE):
            read = pieces[some]
            counts.append((read.mask & ~torch.isin(read.ids, special)).sum(1).clamp(min=1))
            outputs.append(self(read.to(self.scale.device)))
        features = torch.cat(outputs)
        weight, text = torch.cat(counts).to(features), text.to(features.device)
        share = weight / weight.new_zeros(len(texts)).index_add(0, text, weight)[text]
        return features.new_zeros(len(texts), features.shape[1]).index_add(0, text, features * share[:, None])

    def _tokenizer(self) -> Any:
        if self.tokenizer is None:
            raise UserError("this encoder has no tokeniser: tokenizer.json is missing beside its model.safetensors", hint="give it tokens")
        return self.tokenizer
