"""What modalities share: hashes of contents, and statistics that do not lose digits."""

import hashlib
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from leaven.errors import UserError
from leaven.modalities.value import LazyTensor

CHUNK = 512
STATISTICS_SAMPLES = 10_000
STATISTICS_VALUES = 2**24
LIMITS_SAMPLES = 2000
CONSTANT = 1e-7  # of the mean: float32 holds no smaller deviation


def content_hash(*parts: bytes) -> int:
    """A signed 64-bit hash of one sample (blake2b)."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return int.from_bytes(digest.digest(), "little", signed=True)


def digest(parts: Iterable[object]) -> str:
    """32 hexadecimal digits that change with any of the parts."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        state.update(repr(part).encode())
    return state.hexdigest()


def tensor_bytes(tensor: Tensor | LazyTensor) -> Iterable[bytes]:
    """The bytes of each sample. The layout in memory does not matter."""
    at_once = max(1, min(CHUNK, STATISTICS_VALUES // max(1, tensor.shape[1:].numel())))
    for start in range(0, len(tensor), at_once):
        for sample in tensor[start : start + at_once].contiguous().numpy():
            yield sample.tobytes()


def check_finite(numbers: Tensor, where: str) -> None:
    if numbers.is_floating_point() and not all(part.isfinite().all() for part in numbers.split(CHUNK)):
        raise UserError("some values are not finite (NaN or infinity)", where=where, hint="remove or fill these samples")


def evenly_spaced(count: int, limit: int) -> np.ndarray:
    """At most `limit` of the numbers from 0 to count - 1, evenly spaced."""
    return np.arange(count) if count <= limit else np.linspace(0, count - 1, limit).round().astype(np.int64)


def value_range(tensor: Tensor | LazyTensor, train: Tensor) -> tuple[float, float]:
    """The smallest and the largest number of the samples `train`."""
    edges = [torch.stack(torch.aminmax(tensor[chunk])) for chunk in train.split(CHUNK)]
    low, high = torch.stack(edges).unbind(1)
    return float(low.min()), float(high.max())


def ordinary_limits(numbers: Tensor, train: Tensor) -> tuple[Tensor, Tensor]:
    """Between which limits the values of each column lie that are no spikes: twice the distance from its 5th to its 95th percentile beyond these (8
    deviations from the mean of a normal distribution), over up to 2,000 of the samples `train`. A column of which nine tenths are equal has none.

    numbers: (samples, columns). Limits: (columns,).
    """
    some = numbers[train[torch.from_numpy(evenly_spaced(len(train), LIMITS_SAMPLES))]].double().numpy()
    low, high = torch.from_numpy(np.quantile(some, [0.05, 0.95], axis=0))
    reach = torch.where(high > low, 2 * (high - low), torch.inf)
    return (low - reach).float(), (high + reach).float()


def moments(tensor: Tensor | LazyTensor, train: Tensor, limits: tuple[Tensor, Tensor] | None = None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel or dimension (1 where it is constant) over the samples `train`: at most 10,000 of them, evenly
    spaced, fewer of large samples. Numbers of uint8 count as 0-1. limits: to which values beyond them are set.

    Chunk by chunk (Chan et al. 1979), so that large means lose no digits.
    """
    scale = 255.0 if tensor.dtype == torch.uint8 else 1.0
    limit = min(STATISTICS_SAMPLES, max(CHUNK, STATISTICS_VALUES // max(1, tensor[:1].numel())))
    chosen = train[torch.from_numpy(evenly_spaced(len(train), limit))]
    others = [dimension for dimension in range(len(tensor.shape)) if dimension != 1]
    chunks = chosen.split(CHUNK)
    numbers = (tensor[chunk].float() if limits is None else tensor[chunk].float().clamp(*limits) for chunk in chunks)
    chunk_moments = [torch.var_mean(some, others, correction=0) for some in numbers]
    share = torch.tensor([len(chunk) / len(chosen) for chunk in chunks], dtype=torch.float64)[:, None]
    variances, means = (torch.stack(parts).double() for parts in zip(*chunk_moments, strict=True))
    mean = (share * means).sum(0)
    std = (share * (variances + (means - mean).square())).sum(0).sqrt()
    std = torch.where(std <= CONSTANT * mean.abs(), scale, std)  # 1 / 0 would make any other number infinite
    return tuple((mean / scale).tolist()), tuple((std / scale).tolist())


def constant_dimensions(tensor: Tensor | LazyTensor, train: Tensor) -> int:
    """How many dimensions are the same in all of the samples `train`."""
    first = tensor[train[:1]]
    same = torch.stack([(tensor[some] == first).all(0) for some in train.split(CHUNK)])
    return int(same.all(0).sum())


def spread(candidates: Tensor, count: int) -> Tensor:
    """At most `count` of these numbers, evenly spaced."""
    return candidates if len(candidates) <= count else candidates[torch.linspace(0, len(candidates) - 1, count).long()]
