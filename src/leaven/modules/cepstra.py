"""Mel-frequency cepstral coefficients, and frames that follow the steps of another front end."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

COEFFICIENTS = 13
REACH = 2  # frames before and after, over which a slope is taken


def cosine_transform(bands: int, count: int) -> Float[Tensor, "count bands"]:
    """The first rows of the orthonormal DCT-II."""
    angles = math.pi / bands * torch.arange(count)[:, None] * (torch.arange(bands) + 0.5)
    return angles.cos() * torch.where(torch.arange(count) == 0, 1 / bands, 2 / bands).sqrt()[:, None]


def slopes(frames: Float[Tensor, "batch frames dim"], real: Bool[Tensor, "batch frames"]) -> Float[Tensor, "batch frames dim"]:
    """By how much numbers rise per frame: least squares over `REACH` frames on both sides; before the first and after the last real frame, these two
    go on."""
    place, last = torch.arange(frames.shape[1], device=frames.device), (real.sum(1, keepdim=True) - 1).clamp(min=0)

    def moved(by: int) -> Tensor:
        index = (place + by).clamp(min=0).expand(len(frames), -1).minimum(last)
        return frames.gather(1, index[..., None].expand_as(frames))

    steps = range(1, REACH + 1)
    return torch.stack([step * (moved(step) - moved(-step)) for step in steps]).sum(0) / (2 * sum(step**2 for step in steps))


def mfcc(log_mel: Float[Tensor, "batch bands frames"], real: Bool[Tensor, "batch frames"]) -> Float[Tensor, "batch frames dim"]:
    """13 coefficients of each frame, their slopes, and the slopes of these: 39 numbers."""
    cepstra = (cosine_transform(log_mel.shape[1], COEFFICIENTS).to(log_mel) @ log_mel).transpose(1, 2)
    rising = slopes(cepstra, real)
    return torch.cat([cepstra, rising, slopes(rising, real)], 2)


def in_step(
    frames: Float[Tensor, "batch frames dim"], real: Bool[Tensor, "batch frames"], others: Bool[Tensor, "batch others"]
) -> Float[Tensor, "batch others dim"]:
    """For each of the other real frames of a sample the one at its time, where both cover the whole sample evenly."""
    count, wanted = real.sum(1, keepdim=True), others.sum(1, keepdim=True)
    place = torch.arange(others.shape[1], device=frames.device)
    index = (place * ((count - 1) / (wanted - 1).clamp(min=1))).round().long().clamp(min=0).minimum(count - 1)
    return frames.gather(1, index[..., None].expand(-1, -1, frames.shape[2]))
