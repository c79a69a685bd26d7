"""What happens to samples after a model was trained: common corruptions at five severities (Hendrycks and Dietterich 2019)."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias, cast

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from leaven.draw import Draw
from leaven.modalities import Pixels, Value, Wave
from leaven.views.filters import gaussian_blur

Corruption: TypeAlias = Callable[[Value, int, Draw], Value]
"""(samples, severity from 1 to 5, randomness) -> samples."""

SEVERITIES = 5
SIDE = 32  # of the pictures for which widths of blur are given; they grow with larger ones
NOISE = (0.04, 0.06, 0.08, 0.09, 0.10)  # deviation, of a range of 1: these numbers are those of CIFAR-10-C
BLUR = (0.4, 0.6, 0.7, 0.8, 1.0)  # pixels
LIGHTER = (0.05, 0.1, 0.15, 0.2, 0.3)  # of a range of 1
CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)  # what is left of it
PIXELS = (0.95, 0.9, 0.85, 0.75, 0.65)  # what is left of the side
QUALITY = (80, 65, 58, 50, 40)  # of JPEG
SIGNAL_TO_NOISE = (20.0, 15.0, 10.0, 5.0, 0.0)  # dB
CUT_OFF = (0.6, 0.45, 0.35, 0.25, 0.15)  # share of the frequencies that are left
LEVEL = (0.5, 0.35, 0.25, 0.15, 0.1)  # share of a sound's peak at which it is clipped


def corruptions_of(modality: str) -> Mapping[str, Corruption]:
    """The corruptions of samples of this modality, by name; none where none are known."""
    return CORRUPTIONS.get(modality, {})


def on_pixels(change: Callable[[Float[Tensor, "batch channels height width"], int, Draw], Tensor]) -> Corruption:
    def corrupt(value: Value, severity: int, draw: Draw) -> Value:
        pictures = cast(Pixels, value)
        return replace(pictures, pixels=change(pictures.unit(), severity - 1, draw).clamp(0, 1))

    return corrupt


def noisy(x: Tensor, place: int, draw: Draw) -> Tensor:
    return x + NOISE[place] * draw.normal(*x.shape).to(x)


def blurred(x: Tensor, place: int, draw: Draw) -> Tensor:
    return gaussian_blur(x, torch.full((len(x),), BLUR[place] * max(1.0, min(x.shape[2:]) / SIDE)))


def lighter(x: Tensor, place: int, draw: Draw) -> Tensor:
    return x + LIGHTER[place]


def flatter(x: Tensor, place: int, draw: Draw) -> Tensor:
    mean = x.mean((2, 3), keepdim=True)
    return (x - mean) * CONTRAST[place] + mean


def pixelated(x: Tensor, place: int, draw: Draw) -> Tensor:
    height, width = (max(1, round(PIXELS[place] * side)) for side in x.shape[2:])
    return F.interpolate(F.adaptive_avg_pool2d(x, (height, width)), x.shape[2:], mode="nearest")


def compressed(x: Tensor, place: int, draw: Draw) -> Tensor:
    """Channels that are not grey or colour are compressed one by one."""
    bytes_of = (x * 255).round().to(torch.uint8)
    planes = bytes_of if x.shape[1] in (1, 3) else bytes_of.flatten(0, 1)[:, None]
    return torch.stack([jpeg(plane, QUALITY[place]) for plane in planes]).view_as(bytes_of).float() / 255


def jpeg(picture: Tensor, quality: int) -> Tensor:
    array = picture.permute(1, 2, 0).cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).save(file, "JPEG", quality=quality)
    decoded = np.asarray(Image.open(file))
    return torch.from_numpy(decoded[..., None] if decoded.ndim == 2 else decoded.copy()).permute(2, 0, 1)


def on_sound(change: Callable[[Float[Tensor, "batch time"], Tensor, int, Draw], Tensor]) -> Corruption:
    def corrupt(value: Value, severity: int, draw: Draw) -> Value:
        sounds = cast(Wave, value)
        changed = change(sounds.samples, sounds.mask, severity - 1, draw)
        return replace(sounds, samples=changed.clamp(-1, 1).masked_fill(~sounds.mask, 0))

    return corrupt


def hissing(x: Tensor, real: Tensor, place: int, draw: Draw) -> Tensor:
    level = (x.square().sum(1) / real.sum(1).clamp(min=1)).sqrt() * 10 ** (-SIGNAL_TO_NOISE[place] / 20)
    return x + level[:, None] * draw.normal(*x.shape).to(x)


def muffled(x: Tensor, real: Tensor, place: int, draw: Draw) -> Tensor:
    spectrum = torch.fft.rfft(x)
    kept = torch.arange(spectrum.shape[1], device=x.device) < CUT_OFF[place] * spectrum.shape[1]
    return torch.fft.irfft(spectrum * kept, x.shape[1])


def clipped(x: Tensor, real: Tensor, place: int, draw: Draw) -> Tensor:
    level = LEVEL[place] * x.abs().amax(1, keepdim=True)
    return x.maximum(-level).minimum(level)


PICTURES = {
    name: on_pixels(change)
    for name, change in {
        "noise": noisy, "blur": blurred, "brightness": lighter, "contrast": flatter, "pixelation": pixelated, "jpeg": compressed,
    }.items()
}  # fmt: skip
SOUNDS = {name: on_sound(change) for name, change in {"noise": hissing, "muffled": muffled, "clipping": clipped}.items()}
CORRUPTIONS = {Pixels.modality: PICTURES, Wave.modality: SOUNDS}
