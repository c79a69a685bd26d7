"""Features of many samples, a batch at a time."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from leaven.data.batch import Pixels, Value, Vector
from leaven.encoders import Encoder


def fitted(value: Value, shape: tuple[int, ...]) -> Value:
    """Pictures at the side that an encoder was made for; other values unchanged."""
    if isinstance(value, Pixels) and value.pixels.shape[2:] != tuple(shape[1:]):
        return Pixels(F.interpolate(value.unit(), shape[1:], mode="bilinear", antialias=True).clamp(0, 1))
    return value


@torch.no_grad()
def encode(encoder: Encoder, value: Value, rows: Tensor, *, batch: int = 250, device: str = "cpu") -> Float[Tensor, "rows dim"]:
    """fp32 features of these rows, in eval mode, on the CPU. Pictures of another size are resized to the encoder's."""
    encoder = encoder.to(device).eval()
    return torch.cat([encoder(fitted(value[part], encoder.input.shape).to(device)).float().cpu() for part in rows.split(batch)])


def raw(value: Value, rows: Tensor) -> Float[Tensor, "rows dim"]:
    """The input itself as a feature vector: pixels in 0-1, or plain numbers."""
    if isinstance(value, Pixels):
        return value[rows].unit().flatten(1)
    if isinstance(value, Vector):
        return value[rows].numbers.float()
    raise TypeError(f"no raw features for {value.modality}")
