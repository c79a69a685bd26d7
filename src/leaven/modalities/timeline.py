"""What values over time share: their masks, crops and statistics, a bounded amount of samples at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from leaven.modalities.content import CONSTANT, evenly_spaced

AT_ONCE = 2**22  # numbers that are looked at together
LOOKED_AT = 2**25  # numbers from which statistics are taken
FEWEST = 64  # samples from which they are taken, however long these are


def at_a_time(samples: Any) -> int:
    """How many samples are looked at together: few enough that memory stays small."""
    return max(1, AT_ONCE // max(1, samples.shape[1:].numel()))


def some_rows(samples: Any, rows: Tensor) -> Tensor:
    """Enough of these rows for statistics, evenly spaced."""
    limit = max(FEWEST, LOOKED_AT // max(1, samples.shape[1:].numel()))
    return rows[torch.from_numpy(evenly_spaced(len(rows), limit))]


def beginnings(lengths: Tensor, time: int) -> Bool[Tensor, "batch time"]:
    """True for so many places from the beginning."""
    return torch.arange(time, device=lengths.device) < lengths[:, None]


def middle(samples: Tensor, lengths: Tensor, time: int) -> Tensor:
    """(batch, ..., time): the middle of what is longer, zeros after what is shorter."""
    if samples.shape[-1] <= time:
        return torch.nn.functional.pad(samples, (0, time - samples.shape[-1]))
    start = ((lengths - time) // 2).clamp(min=0)
    places = start[:, None] + torch.arange(time, device=samples.device)
    return samples.gather(-1, places.view(len(samples), *(1,) * (samples.ndim - 2), time).expand(*samples.shape[:-1], time))


def masked_moments(samples: Any, mask_of: Callable[[Tensor], Tensor], train: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation (1 where it is constant) of each channel, or of samples without channels, over what is real in some of the rows
    `train`. mask_of: gives (rows, time) of these rows."""
    count = total = squares = torch.zeros(1, dtype=torch.float64)
    first = None
    for rows in some_rows(samples, train).split(at_a_time(samples)):
        part = samples[rows].double()
        part = part[:, None] if part.ndim == 2 else part
        real = mask_of(rows)[:, None] & part.isfinite()
        if first is None:  # what is subtracted, so that large means lose no digits
            first = torch.where(real, part, 0).sum((0, 2)) / real.sum((0, 2)).clamp(min=1)
        part = torch.where(real, part - first[:, None], 0)
        count, total, squares = count + real.sum((0, 2)), total + part.sum((0, 2)), squares + part.square().sum((0, 2))
    assert first is not None
    count = count.clamp(min=1)
    mean, std = first + total / count, (squares / count - (total / count).square()).clamp(min=0).sqrt()
    return tuple(mean.tolist()), tuple(torch.where(std <= CONSTANT * mean.abs(), 1.0, std).tolist())
