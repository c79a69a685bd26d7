"""Features of many samples, a batch at a time."""

import math
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from leaven.encoders import Encoder
from leaven.errors import UserError
from leaven.modalities import InputSpec, Value
from leaven.modalities.modality import fitted
from leaven.training.precision import fast_products, keep_freed_memory

VALUES_AT_ONCE = 2**20


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
        # not across the yield: these would reach the caller
        with fast_products(device, precision), torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            features = encoder(fitted(value[part].to(device), encoder.input))
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
    if why := encoder.modality.difference(spec, wanted):
        raise UserError(why, where=where)
