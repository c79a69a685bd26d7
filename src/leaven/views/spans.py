"""Which moments of sequences are hidden: spans anywhere, or one side of them."""

import torch
from jaxtyping import Bool
from torch import Tensor

from leaven.draw import Draw
from leaven.modalities.timeline import beginnings


def spans(draw: Draw, real: Bool[Tensor, "batch frames"], share: float, length: int) -> Bool[Tensor, "batch frames"]:
    """Spans begin at a share of a sample's frames, chosen without replacement, and may overlap (Baevski et al. 2020, section 3.1).

    real: which frames lie within their sample; these come first. share: of the real frames; numbers between two whole ones are rounded at random, and
    each sample has a span. length: of a span in frames, at most half of a sample's. Spans that reach beyond the end of a sample end there.
    """
    frames = real.sum(1)
    number = draw.uniform(*real.shape).to(real.device).masked_fill(~real, 2.0)
    count = (share * frames + draw.child("count").uniform(len(real)).to(real.device)).floor().clamp(min=1)
    begun = (number.argsort(1).argsort(1) < count[:, None]).cumsum(1)
    before = torch.arange(real.shape[1], device=real.device) - (frames // 2).clamp(1, length)[:, None]
    ended = torch.where(before >= 0, begun.gather(1, before.clamp(min=0)), 0)
    return (begun > ended) & real


def parted(draw: Draw, real: Bool[Tensor, "batch frames"], share: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Which real frames come before a moment of each sample, and which from it on; at least one each where there are two.

    share: of the frames that come before it, uniform between these.
    """
    frames = real.sum(1)
    before = (draw.uniform(len(real), low=share[0], high=share[1]).to(real.device) * frames).round().long()
    earlier = beginnings(before.clamp(min=1).minimum((frames - 1).clamp(min=0)), real.shape[1])
    return earlier & real, ~earlier & real
