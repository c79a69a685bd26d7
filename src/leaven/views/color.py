"""Colour: grey, brightness, contrast, saturation and hue, with factors of each sample's own, in an order of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from leaven.draw import Draw
from leaven.modalities.pixels import LUMA, grey_weights

XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))  # of linear sRGB
D65 = (0.95047, 1.0, 1.08883)
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


def grayscale(x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch channel height width"]:
    """The luma 0.2989 R + 0.587 G + 0.114 B in all three channels; pictures of other channel counts stay as they are."""
    if x.shape[1] != 3:
        return x
    grey = x[:, :1] * LUMA[0]
    return grey.add_(x[:, 1:2], alpha=LUMA[1]).add_(x[:, 2:], alpha=LUMA[2]).expand_as(x)


def rgb_to_lab(x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
    """CIE 1976 L* (0 to 100), a* and b* (about -100 to 100) of sRGB pictures with values 0-1, for the white D65 (IEC 61966-2-1; CIE 15)."""
    red, green, blue = torch.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055).clamp_min(0) ** 2.4).unbind(1)

    def response(weights: tuple[float, float, float], white: float) -> Tensor:
        light = (red * weights[0] + green * weights[1] + blue * weights[2]) / white
        return torch.where(light > (6 / 29) ** 3, light.clamp_min(1e-9) ** (1 / 3), light * (29 / 6) ** 2 / 3 + 4 / 29)

    fx, fy, fz = (response(weights, white) for weights, white in zip(XYZ, D65, strict=True))
    return torch.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], dim=1)


def rotate_hue_(x: Float[Tensor, "batch 3 height width"], shift: Float[Tensor, " batch"]) -> Float[Tensor, "batch 3 height width"]:
    """The hue of HSV turned by shift, in turns (-0.5 to 0.5), of RGB pictures with values 0-1, in place.

    A turn of the hue keeps a pixel's largest and smallest channel. With u = (channel - smallest) / (largest - smallest), the hue h in sixths,
    from -3 to 3, has the sign of u_G - u_B and the size 1 + u_G + u_B - u_R. Back again, cut to 0-1: u_R = 2 - |h|, u_G = |h + 1| - 1,
    u_B = |h - 1| - 1.
    """
    red, green, blue = x.unbind(1)
    largest = torch.maximum(red, green)
    torch.maximum(largest, blue, out=largest)
    smallest = torch.minimum(red, green)
    torch.minimum(smallest, blue, out=smallest)
    chroma = largest - smallest
    hue = (green + blue).sub_(red).sub_(smallest)
    part = torch.clamp(chroma, min=1e-12)
    hue.div_(part).add_(1)
    torch.sub(green, blue, out=part)
    hue.copysign_(part).add_(6 * shift[:, None, None])
    torch.mul(hue, 1 / 6, out=part)
    hue.sub_(part.round_(), alpha=6)

    torch.abs(hue, out=part)
    torch.addcmul(largest, part.sub_(1).clamp_(0, 1), chroma, value=-1, out=red)
    torch.add(hue, 1, out=part)
    torch.addcmul(smallest, part.abs_().sub_(1).clamp_(0, 1), chroma, out=green)
    torch.addcmul(smallest, hue.sub_(1).abs_().sub_(1).clamp_(0, 1), chroma, out=blue)
    return x


class JitterFactors(NamedTuple):
    """What colour jitter does to each sample. A change left out is None; `order` holds the numbers of the four, first to last."""

    order: Int[Tensor, "batch 4"]
    brightness: Float[Tensor, " batch"] | None = None
    contrast: Float[Tensor, " batch"] | None = None
    saturation: Float[Tensor, " batch"] | None = None
    hue: Float[Tensor, " batch"] | None = None


def sample_jitter(draw: Draw, rows: int, brightness: float, contrast: float, saturation: float, hue: float) -> JitterFactors:
    """Factors uniform in [max(0, 1 - strength), 1 + strength], hue in [-hue, hue], and a uniform order of each sample's own. Strength 0: left out."""
    numbers = draw.uniform(rows, 8)
    factors: list[Tensor | None] = []
    for column, strength in enumerate((brightness, contrast, saturation)):
        low = max(0.0, 1 - strength)
        factors.append(low + (1 + strength - low) * numbers[:, column] if strength else None)
    factors.append((2 * numbers[:, HUE] - 1) * hue if hue else None)
    order = numbers[:, 4:].argsort(dim=1)
    return JitterFactors(order, *factors)


class JitterRounds(NamedTuple):
    """The same, worked out: linear rounds that all samples go through together, and before which of them the hue of each turns.

    In round t a pixel's channels become matrix[t] @ channels + toward_mean[t] @ (mean of each channel), cut to 0-1; where they are no colours, each
    channel moves toward its own mean.
    """

    matrix: Float[Tensor, "batch rounds channel channel"]
    toward_mean: Float[Tensor, "batch rounds channel"] | None
    hue: Float[Tensor, " batch"] | None
    hue_round: Int[Tensor, " batch"]

    @classmethod
    def of(cls, factors: JitterFactors, channels: int) -> JitterRounds:
        colored = channels == 3
        active = {BRIGHTNESS: factors.brightness, CONTRAST: factors.contrast, SATURATION: factors.saturation if colored else None}
        linear = {change: factor for change, factor in active.items() if factor is not None}
        rank = factors.order.argsort(dim=1)

        def earlier_than(change: int) -> Tensor:
            return (rank[:, list(linear)] < rank[:, change : change + 1]).sum(dim=1)

        zero = factors.order.new_zeros(len(rank), len(linear), dtype=torch.float32)
        scale, toward_grey, toward_mean = zero, zero, None
        for change, factor in linear.items():
            here = earlier_than(change)[:, None] == torch.arange(len(linear), device=rank.device)
            scale = scale + here * factor[:, None]
            if change == CONTRAST:
                weights = grey_weights(channels, rank.device) if colored else torch.ones(channels, device=rank.device)
                toward_mean = (here * (1 - factor)[:, None])[:, :, None] * weights
            if change == SATURATION:
                toward_grey = here * (1 - factor)[:, None]
        matrix = scale[:, :, None, None] * torch.eye(channels, device=rank.device)
        if SATURATION in linear:
            matrix = matrix + toward_grey[:, :, None, None] * grey_weights(channels, rank.device)
        hue = factors.hue if colored else None
        hue_round = torch.zeros_like(rank[:, 0]) if hue is None else earlier_than(HUE)
        return cls(matrix, toward_mean, hue, hue_round)

    def map(self, change: Callable[[Tensor], Tensor]) -> JitterRounds:
        return JitterRounds(*[None if field is None else change(field) for field in self])  # type: ignore[arg-type]


def apply_rounds(x: Float[Tensor, "batch channel height width"], rounds: JitterRounds, hue_round: int) -> Float[Tensor, "batch channel height width"]:
    """The rounds on samples whose hue turns before the same one; values stay in 0-1. May overwrite x.

    Equals the same sequence of torchvision's functional adjustments within 1e-5. Saturation and hue leave all but RGB pictures as they are.
    """
    count = rounds.matrix.shape[1]
    for t in range(count + 1):
        if rounds.hue is not None and t == hue_round:
            x = rotate_hue_(x, rounds.hue)
        if t == count:
            break
        mixed = torch.bmm(rounds.matrix[:, t], x.flatten(2))
        if rounds.toward_mean is not None:
            means = rounds.toward_mean[:, t] * x.mean(dim=(2, 3))
            mixed.add_((means.sum(dim=1, keepdim=True) if x.shape[1] == 3 else means)[:, :, None])
        x = mixed.clamp_(0, 1).view_as(x)
    return x
