"""Texts written one token after another: the likeliest token each time, one that is drawn, or the likeliest text of a few that are kept."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from leaven.draw import Draw
from leaven.hyperparameters import Count, NonNegative
from leaven.modalities import InputSpec, Tokens

Logits = Callable[[Tokens], Float[Tensor, "texts vocabulary"]]
"""What texts that were begun say of their next token."""
Follow = Callable[[Int64[Tensor, " texts"]], object]
"""Called before that with the number of the text, in the call before, that each text goes on from: for what remembers earlier tokens."""


@dataclass(frozen=True)
class Decoding:
    """How texts are written.

    beams: how many texts are kept at each place, of which the likeliest per token is the answer (1: the likeliest token is taken each time).
    temperature: of the softmax from which tokens are drawn (0: none is drawn). One of the two at most.
    """

    beams: Count = 1
    temperature: NonNegative = 0.0

    def write(self, logits: Logits, count: int, input: InputSpec, device: torch.device, draw: Draw, follow: Follow | None = None) -> Tokens:
        """(count) texts. logits: reads count * beams texts, those of one sample side by side."""
        if self.beams > 1:
            return by_beams(logits, count, input, device, self.beams, follow)
        if not self.temperature:
            return written(logits, count, input, device)
        noise = draw.gumbel(count, input.shape[0], input.vocabulary or 1).to(device)
        return written(lambda read: logits(read) / self.temperature, count, input, device, noise)


def written(logits: Logits, count: int, input: InputSpec, device: torch.device, noise: Tensor | None = None) -> Tokens:
    """Texts from the begin token to the end token or the maximum length: at each place the likeliest token, or one drawn by Gumbel noise."""
    special = input.special
    ids = torch.full((count, 1), special["begin"], device=device)
    ended = torch.zeros(count, dtype=torch.bool, device=device)
    for place in range(1, input.shape[0]):
        scores = possible(logits(Tokens(ids, torch.ones_like(ids, dtype=torch.bool))), input)
        if noise is not None:
            scores = scores + noise[:, place]
        token = torch.where(ended, special["pad"], scores.argmax(1))
        ids = torch.cat([ids, token[:, None]], 1)
        ended |= token == special["end"]
        if ended.all():
            break
    return padded(ids, special["pad"])


def by_beams(logits: Logits, count: int, input: InputSpec, device: torch.device, beams: int, follow: Follow | None = None) -> Tokens:
    """The likeliest texts per token (Sutskever et al. 2014, section 3.2): at each place, of all that may follow the `beams` likeliest beginnings,
    the `beams` likeliest are kept. A text that has ended stays among them as it is. Texts that reach the maximum length end there."""
    special, pad = input.special, input.special["pad"]
    ids = torch.full((count, beams, 1), special["begin"], device=device)
    likely = torch.full((count, beams), float("-inf"), device=device)
    likely[:, 0] = 0  # all beginnings are the same at first
    length = torch.zeros(count, beams, device=device)
    ended = torch.zeros(count, beams, dtype=torch.bool, device=device)
    for _ in range(1, input.shape[0]):
        read = ids.flatten(0, 1)
        log = possible(logits(Tokens(read, torch.ones_like(read, dtype=torch.bool))), input).log_softmax(1).unflatten(0, (count, beams))
        stays = torch.full_like(log, float("-inf"))
        stays[..., pad] = 0
        log = torch.where(ended[..., None], stays, log)
        summed = likely[..., None] + log
        lengths = (length + ~ended)[..., None].expand_as(log)
        choice = (summed / lengths).flatten(1).topk(beams, dim=1).indices
        beam, token = choice // log.shape[2], choice % log.shape[2]
        if follow is not None:
            follow((torch.arange(count, device=device)[:, None] * beams + beam).flatten())
        ids = torch.cat([ids.gather(1, beam[..., None].expand(-1, -1, ids.shape[2])), token[..., None]], 2)
        likely, length = summed.flatten(1).gather(1, choice), lengths.flatten(1).gather(1, choice)
        ended = ended.gather(1, beam) | (token == special["end"])
        if ended.all():
            break
    best = (likely / length).argmax(1)
    return padded(ids[torch.arange(count, device=device), best], pad)


def possible(logits: Float[Tensor, "texts vocabulary"], input: InputSpec) -> Float[Tensor, "texts vocabulary"]:
    """The same in fp32 or more; no special token but the end is ever written."""
    never = [number for name, number in input.special.items() if name != "end"]
    scores = logits.to(torch.promote_types(logits.dtype, torch.float32), copy=True)
    scores[:, never] = float("-inf")
    return scores


def padded(ids: Tensor, pad: int) -> Tokens:
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[:, 1:] = ids[:, 1:] != pad
    return Tokens(ids, mask)
