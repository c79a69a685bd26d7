"""Texts of any length: read in pieces, of whose features the mean is taken."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from leaven.data.batch import Text
from leaven.encoders.encoder import Encoder

AT_ONCE = 256


def mean_of_pieces(encoder: Encoder, texts: Text) -> Float[Tensor, "texts dim"]:
    """The features of whole texts: those of their pieces, weighed by how many tokens each has. A text of one piece has that one's."""
    if encoder.tokenizer is None:
        raise TypeError("this encoder has no tokeniser: give it tokens")
    pieces, text = encoder.tokenizer.pieces(texts)
    special = torch.tensor(list(encoder.input.special.values()))
    features: Any = []
    weights: Any = []
    for rows in torch.arange(len(text)).split(AT_ONCE):
        read = pieces[rows]
        weights.append((read.mask & ~torch.isin(read.ids, special)).sum(1).clamp(min=1))
        features.append(encoder(read.to(encoder.scale.device)))
    found, weight = torch.cat(features), torch.cat(weights).to(features[0])
    total = weight.new_zeros(len(texts)).index_add(0, text.to(weight.device), weight)
    share = weight / total[text.to(weight.device)]
    return found.new_zeros(len(texts), found.shape[1]).index_add(0, text.to(found.device), found * share[:, None])
