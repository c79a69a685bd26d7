"""Distortions: solarize, cut out, noise."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def solarize(x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch channel height width"]:
    """Values from 0.5 up are inverted, so none is left above it."""
    return torch.minimum(x, 1 - x)


def cutout(
    x: Float[Tensor, "batch channel height width"], center_y: Int[Tensor, " batch"], center_x: Int[Tensor, " batch"], side: int, value: float = 0.0
) -> Float[Tensor, "batch channel height width"]:
    """A square of this side around each sample's own centre is set to `value`; what sticks out is lost (DeVries & Taylor 2017)."""

    def covered(center: Tensor, length: int) -> Tensor:
        start = (center - side // 2)[:, None]
        pixel = torch.arange(length, device=center.device)
        return (pixel >= start) & (pixel < start + side)

    square = covered(center_y, x.shape[2])[:, None, :, None] & covered(center_x, x.shape[3])[:, None, None, :]
    return x.masked_fill(square, value)


def gaussian_noise(
    x: Float[Tensor, "batch channel height width"], noise: Float[Tensor, "batch channel height width"], sigma: Float[Tensor, " batch"]
) -> Float[Tensor, "batch channel height width"]:
    """Standard normal noise, scaled by each sample's own sigma, is added; cut to 0-1."""
    return (x + noise * sigma[:, None, None, None]).clamp_(0, 1)
