"""Features of many samples, a batch at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from leaven.data.batch import Pixels, Value, Vector
from leaven.data.spec import InputSpec
from leaven.encoders import Encoder
from leaven.encoders.encoder import fitted
from leaven.errors import UserError
from leaven.training.precision import keep_freed_memory

VALUES_AT_ONCE = 2**20
LARGEST_RAW, SHRUNK = 64, 32  # larger pictures would take gigabytes as features, and a probe on their pixels is no better


def batch_of(shape: tuple[int, ...]) -> int:
    """How many samples are encoded at once: few enough of large pictures that memory stays small."""
    return max(8, min(250, VALUES_AT_ONCE // math.prod(shape)))


@torch.no_grad()
def encoded(
    encoder: Encoder, value: Value, rows: Tensor, *, batch: int | None = None, device: str = "cpu", precision: str = "fp32"
) -> Iterator[Float[Tensor, "batch dim"]]:
    """fp32 features of these rows a batch at a time, in order, in eval mode, on the CPU. Pictures of another size are resized to the encoder's.

    precision: fp32, or bf16 (autocast, rounded in between).
    """
    keep_freed_memory()
    encoder = encoder.to(device).eval()
    for part in rows.split(batch or batch_of(encoder.input.shape)):
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):  # not across the yield: it would reach the caller
            features = encoder(fitted(value[part].to(device), encoder.input.shape))
        yield features.float().cpu()


def encode(
    encoder: Encoder,
    value: Value,
    rows: Tensor,
    *,
    batch: int | None = None,
    device: str = "cpu",
    precision: str = "fp32",
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Float[Tensor, "rows dim"]:
    """The features of `encoded`, together."""
    parts, done = [], 0
    for part in encoded(encoder, value, rows, batch=batch, device=device, precision=precision):
        parts.append(part)
        done += len(part)
        progress(done, len(rows))
    return torch.cat(parts)


def check_input(encoder: Encoder, spec: InputSpec, where: object = None) -> None:
    """Raises UserError where an encoder does not read such samples."""
    wanted = encoder.input
    if spec.modality != wanted.modality:
        raise UserError(f"this encoder reads {wanted.modality}, and the data is {spec.modality}", where=where, hint="give data like that of its run")
    differs = spec.shape[0] != wanted.shape[0] if spec.modality == "pixels" else spec.modality == "vector" and spec.shape != wanted.shape
    if differs:
        what = "channels" if spec.modality == "pixels" else "numbers"
        raise UserError(f"this encoder reads {wanted.shape[0]} {what} a sample, and the data has {spec.shape[0]}", where=where)


def raw(value: Value, rows: Tensor) -> Float[Tensor, "rows dim"]:
    """The input itself as a feature vector: pixels in 0-1 (pictures of more than 64 pixels are shrunk to 32 first), or plain numbers."""
    if isinstance(value, Pixels):
        channels, *sides = value.shape[0]
        small = sides if max(sides) <= LARGEST_RAW else (SHRUNK, SHRUNK)
        parts = (fitted(value[part], (channels, *small)) for part in rows.split(batch_of((channels, *sides))))
        return torch.cat([part.unit().flatten(1) for part in parts if isinstance(part, Pixels)])
    if isinstance(value, Vector):
        return value[rows].numbers.float()
    raise TypeError(f"no raw features for {value.modality}")
