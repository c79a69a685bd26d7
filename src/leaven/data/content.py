"""What the samples hold: a hash of each, and the statistics that encoders normalise with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from leaven.data.batch import Counts, Pixels, Rows, Signal, Text, Tokens, Value, Vector, Wave
from leaven.data.spec import InputSpec

CHUNK = 512
STATISTICS_ROWS = 10_000
STATISTICS_VALUES = 2**24
CONSTANT = 1e-7  # of the mean: float32 holds no smaller deviation


def content_hash(*parts: bytes) -> int:
    """A signed 64-bit hash of one sample (blake2b)."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return int.from_bytes(digest.digest(), "little", signed=True)


def content_hashes(roles: Mapping[str, Value]) -> Tensor:
    """(N,) int64: one hash a sample, over its texts and its tensors in the order of their names. Memory layout does not matter."""
    written = [value.texts.tolist() for _, value in sorted(roles.items()) if isinstance(value, Text)]
    if len(written) == len(roles):
        return torch.tensor([content_hash(*(text.encode() for text in texts)) for texts in zip(*written, strict=True)], dtype=torch.int64)
    if written:
        raise TypeError("hashes of texts beside other samples are made of each by itself")
    tensors = [tensor for _, value in sorted(roles.items()) for _, tensor in sorted(value.tensors().items())]
    count = len(tensors[0])
    hashes = torch.empty(count, dtype=torch.int64)
    for start in range(0, count, CHUNK):
        parts = [tensor[start : start + CHUNK].contiguous().numpy() for tensor in tensors]
        for offset in range(len(parts[0])):
            hashes[start + offset] = content_hash(*(part[offset].tobytes() for part in parts))
    return hashes


def evenly_spaced(count: int, limit: int) -> np.ndarray:
    """At most `limit` row numbers, evenly spaced over `count`."""
    return np.arange(count) if count <= limit else np.linspace(0, count - 1, limit).round().astype(np.int64)


def input_spec(value: Value, train: Tensor) -> InputSpec:
    """Shape and statistics of one role; mean and std over the rows `train` (at most 10,000 of them, evenly spaced, fewer for large samples)."""
    match value:
        case Pixels(pixels=pixels):
            mean, std = _moments(pixels, train)
            return InputSpec("pixels", tuple(pixels.shape[1:]), mean, std)
        case Vector(numbers=numbers):
            mean, std = _moments(numbers, train)
            return InputSpec("vector", tuple(numbers.shape[1:]), mean, std, _range(numbers, train))
        case Counts(counts=counts):
            mean, std = _moments(counts, train)
            return InputSpec("counts", tuple(counts.shape[1:]), mean, std)
        case Text():
            return InputSpec("text", ())
        case Tokens(ids=ids):
            return InputSpec("text", tuple(ids.shape[1:]), vocabulary=int(ids[:].max()) + 1)
        case Wave(samples=samples, rate=rate) | Signal(samples=samples, rate=rate):
            return InputSpec(value.modality, tuple(samples.shape[1:]), rate=rate)
    raise TypeError(f"no input specification for {type(value).__name__}")


def _range(tensor: Tensor | Rows, train: Tensor) -> tuple[float, float]:
    edges = [torch.stack(torch.aminmax(tensor[chunk])) for chunk in train.split(CHUNK)]
    low, high = torch.stack(edges).unbind(1)
    return float(low.min()), float(high.max())


def _moments(tensor: Tensor | Rows, train: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel or dimension (1 where it is constant).

    Chunk by chunk (Chan et al. 1979), so that large means lose no digits.
    """
    scale = 255.0 if tensor.dtype == torch.uint8 else 1.0
    limit = min(STATISTICS_ROWS, max(CHUNK, STATISTICS_VALUES // max(1, tensor[:1].numel())))
    rows = train[torch.from_numpy(evenly_spaced(len(train), limit))]
    others = [dimension for dimension in range(len(tensor.shape)) if dimension != 1]
    chunks = rows.split(CHUNK)
    moments = [torch.var_mean(tensor[chunk].float(), others, correction=0) for chunk in chunks]
    share = torch.tensor([len(chunk) / len(rows) for chunk in chunks], dtype=torch.float64)[:, None]
    variances, means = (torch.stack(parts).double() for parts in zip(*moments, strict=True))
    mean = (share * means).sum(0)
    std = (share * (variances + (means - mean).square())).sum(0).sqrt()
    std = torch.where(std <= CONSTANT * mean.abs(), scale, std)  # 1 / 0 would make any other number infinite
    return tuple((mean / scale).tolist()), tuple((std / scale).tolist())
