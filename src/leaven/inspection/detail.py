"""What shrinking destroys: how much of what varies within pictures is gone at the size that training reads."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from leaven.modalities.content import evenly_spaced
from leaven.modalities.decoding import decode, stored_form
from leaven.modalities.picture_files import Source, Unusable, opened, quiet
from leaven.modalities.spec import InputSpec

LOOKED_AT = 16  # pictures
LARGEST = 1024  # side at which they are compared
SIDES = (128, 160, 192, 224, 256, 320, 384, 448, 512)
MUCH = 0.3  # of the variance within a picture; photographs lose 0.01 to 0.15 from any size to 32 pixels


@dataclass(frozen=True)
class Detail:
    """lost: the share of the variance within pictures that is gone at `side` (the median over some). enough: the smallest usual side at which little
    is gone; None where there is none."""

    side: int
    lost: float
    enough: int | None


def detail_lost(files: Sequence[Source], stored: InputSpec, side: int) -> Detail | None:
    """Of picture files that are read with the settings of `stored` and trained on at `side`; None where none of them is larger."""
    pictures = []
    form = stored_form(stored)
    with quiet():
        for number in evenly_spaced(len(files), LOOKED_AT):
            with contextlib.suppress(Unusable):
                with opened(files[number]) as file:
                    own = min(*file.size, LARGEST)
                if own > side:
                    array = decode(files[number], replace(form, side=own))
                    pictures.append(torch.from_numpy(array).float().mean(0, keepdim=True)[None])
    if not pictures:
        return None

    def lost(at: int) -> float:
        return float(np.median([share_lost(picture, at) for picture in pictures]))

    here = lost(side)
    enough = next((other for other in SIDES if other > side and lost(other) < MUCH), None) if here >= MUCH else side
    return Detail(side, here, enough)


def share_lost(picture: Tensor, side: int) -> float:
    """Of the variance of one (1, 1, height, width), when it is shrunk to this side and enlarged again; 0 for flat ones."""
    if side >= min(picture.shape[2:]):
        return 0.0
    small = F.interpolate(picture, (side, side), mode="bilinear", antialias=True)
    back = F.interpolate(small, picture.shape[2:], mode="bilinear")
    return float((picture - back).square().mean() / picture.var(correction=0).clamp_min(1.0 if picture.max() > 1 else 1e-5))
