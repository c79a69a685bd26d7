"""Random views of pictures: all of one size, or a few large crops and several small ones."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from typing import cast

import torch
from torch import Tensor

from leaven.draw import Draw
from leaven.errors import UserError
from leaven.modalities import Geometry, Pixels, Value
from leaven.views.color import JitterRounds, apply_rounds, grayscale, sample_jitter
from leaven.views.crop import horizontal_flip_, resized_crop, sample_boxes
from leaven.views.filters import blur_kernel_size, gaussian_blur, solarize
from leaven.views.views import Views, is_number

# Floats that go through all changes together: few enough for the cache of each core, or to spare a GPU's memory. The views do not depend on it.
CORE_CHUNK, DEVICE_CHUNK = 160_000, 2**26


@dataclass(frozen=True)
class PictureViews(Views):
    """Crop and resize, mirror, jitter colours, grey, blur, solarize: the views of SimCLR (Chen et al. 2020) and BYOL (Grill et al. 2020).

    Probabilities hold for each sample by itself. `blur` and `solarize` have one for each view; the last is repeated. A strength or probability
    of 0 switches its change off, and so does crop_min = 1. Small pictures suit crop_min 0.2 and no blur, photographs 0.08 and blur 0.5.
    """

    kind = "pictures"
    modality = "pixels"

    crop_min: float = 0.2
    crop_max: float = 1.0
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    grey: float = 0.2
    blur: tuple[float, ...] = (0.0,)
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarize: tuple[float, ...] = (0.0,)
    size: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_probabilities("flip", "jitter", "grey", "blur", "solarize")
        self._require_areas("crop_min", "crop_max")
        for name in ("ratio", "blur_sigma"):
            value = getattr(self, name)
            self._require(name, len(value) == 2 and all(map(is_number, value)) and 0 < value[0] <= value[1], "two numbers above 0, the smaller first")
        self._require_not_negative("brightness", "contrast", "saturation")
        self._require("hue", is_number(self.hue) and 0 <= self.hue <= 0.5, "a number from 0 to 0.5")
        self._require_pixels("size")

    def __call__(self, value: Value, draw: Draw) -> list[Value]:
        """`count` views: Pixels, float32 in 0-1, (B, C, size, size), or as large as the input when size is None."""
        return self.with_geometry(value, draw)[0]

    def with_geometry(self, value: Value, draw: Draw) -> tuple[list[Value], list[Geometry | None]]:
        """The parameters are drawn on the host whatever the device of `draw`: the same views arise on every device, and a GPU is never waited for."""
        self._expect(value)
        value = cast(Pixels, value)
        host = Draw(*draw.key, part=draw.part, parts=draw.parts)
        geometries = [self._geometry(value.pixels.shape, index, host) for index in range(self.count)]
        with torch.no_grad(), _full_precision(value.pixels.device):
            views = [Pixels(self._view(value.pixels, geometry, index, host)) for index, geometry in enumerate(geometries)]
        return list(views), [geometry.to(value.pixels.device) for geometry in geometries]

    def _geometry(self, shape: torch.Size, view: int, draw: Draw) -> Geometry:
        batch, _, height, width = shape
        flip = draw.child("flip", view).chance(self.flip, batch) if self.flip else None
        size = (height, width) if self.size is None else (self.size, self.size)
        if self.crop_min == 1:
            return dataclasses.replace(Geometry.whole(batch, (height, width), size), flip=flip)
        return Geometry(*sample_boxes(draw.child("crop", view), batch, height, width, (self.crop_min, self.crop_max), self.ratio), size, flip)

    def _view(self, pixels: Tensor, geometry: Geometry, view: int, draw: Draw) -> Tensor:
        batch, channels, height, width = pixels.shape
        device, size = pixels.device, geometry.size
        rounds, group = self._jitter(draw, view, batch, channels)
        changes: list[tuple[Tensor, Callable[[Tensor, Tensor], Tensor]]] = []
        if self.grey and channels == 3:
            changes.append((draw.child("grey", view).chance(self.grey, batch), lambda x, rows: grayscale(x)))
        if blur := self.blur[min(view, len(self.blur) - 1)]:
            if any(blur_kernel_size(side) // 2 >= side for side in size):
                raise UserError(f"pictures of {size[0]}x{size[1]} are too small to blur", where="views.blur", hint="set views.blur=0")
            low, high = self.blur_sigma
            sigma = draw.child("blur_sigma", view).uniform(batch, low=low, high=high)
            changes.append((draw.child("blur", view).chance(blur, batch), lambda x, rows: gaussian_blur(x, sigma[rows].to(device))))
        if inverted := self.solarize[min(view, len(self.solarize) - 1)]:
            changes.append((draw.child("solarize", view).chance(inverted, batch), lambda x, rows: solarize(x)))

        # Samples whose hue turns in the same round of the jitter lie side by side, so that each round is one operation on all of them.
        order = group.argsort(stable=True)

        def in_order(parameter: Tensor) -> Tensor:
            return parameter[order].to(device, non_blocking=True)

        box = [in_order(side) for side in (geometry.top, geometry.left, geometry.height, geometry.width)]
        flip = None if geometry.flip is None else in_order(geometry.flip)
        rounds = None if rounds is None else rounds.map(in_order)
        target = order.to(device, non_blocking=True)
        out = torch.empty(batch, channels, *size, device=device)
        for hue_round, start, end in self._chunks(group, out):
            part = slice(start, end)
            x = pixels.index_select(0, target[part])
            mirrored = None if flip is None else flip[part]
            if self.crop_min < 1 or size != (height, width):
                x = resized_crop(x, [side[part] for side in box], size, mirrored)
            else:
                x = Pixels(x).unit()
                x = x if mirrored is None else horizontal_flip_(x, mirrored)
            if rounds is not None and hue_round >= 0:
                x = apply_rounds(x, rounds.map(itemgetter(part)), hue_round)
            for chosen, change in changes:
                local = chosen[order[part]].nonzero()[:, 0]
                if len(local):
                    rows = local.to(device, non_blocking=True)
                    x.index_copy_(0, rows, change(x.index_select(0, rows), order[part][local]))
            out.index_copy_(0, target[part], x.clamp_(0, 1))  # rounding may pass 1
        return out

    def _jitter(self, draw: Draw, view: int, batch: int, channels: int) -> tuple[JitterRounds | None, Tensor]:
        """The jitter, and of each sample the round before which its hue turns, or -1 where it is not jittered."""
        colored = channels == 3 and (self.saturation or self.hue)
        if not self.jitter or not (self.brightness or self.contrast or colored):
            return None, torch.full((batch,), -1)
        factors = sample_jitter(draw.child("jitter", view), batch, self.brightness, self.contrast, self.saturation, self.hue)
        rounds = JitterRounds.of(factors, channels)
        return rounds, rounds.hue_round.masked_fill(~draw.child("jitter_on", view).chance(self.jitter, batch), -1)

    def _chunks(self, group: Tensor, out: Tensor) -> Iterator[tuple[int, int, int]]:
        """(hue round, start, end) of stretches of the ordered samples, each of one group and small enough."""
        floats = CORE_CHUNK * torch.get_num_threads() if out.device.type == "cpu" else DEVICE_CHUNK
        limit = max(1, floats // math.prod(out.shape[1:]))
        start = 0
        for hue_round, count in zip(*(part.tolist() for part in group.unique(return_counts=True)), strict=True):
            pieces = -(-count // limit)
            for piece in range(pieces):
                yield hue_round, start + count * piece // pieces, start + count * (piece + 1) // pieces
            start += count


@dataclass(frozen=True)
class MultiCropViews(PictureViews):
    """`count` large crops, then `local_count` small ones of a smaller part of the picture (Caron et al. 2020, section 3.2).

    The changes of colour are those of PictureViews. Where `blur` and `solarize` have a probability for each view, the small crops come after the
    large ones. local_min, local_max: share of the picture's area that a small crop shows. local_size: its side in pixels (None: half that of the
    large ones, in whole patches of the encoder).
    """

    kind = "multicrop"

    crop_min: float = 0.4
    local_count: int = 2
    local_min: float = 0.1
    local_max: float = 0.4
    local_size: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_whole("local_count", 0)
        self._require_areas("local_min", "local_max")
        self._require_pixels("local_size")

    def with_geometry(self, value: Value, draw: Draw) -> tuple[list[Value], list[Geometry | None]]:
        """`count` + `local_count` views: Pixels, float32 in 0-1."""
        large, geometries = super().with_geometry(value, draw)
        if not self.local_count:
            return large, geometries
        small, more = self.local(large[0].shape[0][1]).with_geometry(value, draw.child("local"))
        return large + small, geometries + more

    def local(self, side: int) -> PictureViews:
        """The views that are the small crops, beside large ones of this side."""
        shared = {field.name: getattr(self, field.name) for field in dataclasses.fields(PictureViews)}
        own = {"count": self.local_count, "crop_min": self.local_min, "crop_max": self.local_max, "size": self.local_size or max(1, side // 2)}
        later = {name: shared[name][self.count :] or shared[name][-1:] for name in ("blur", "solarize")}
        return PictureViews(**{**shared, **own, **later})

    def fitted(self, shape: tuple[int, ...], patch: int) -> MultiCropViews:
        if self.local_size is not None:
            return self
        return dataclasses.replace(self, local_size=max(1, round(shape[1] / 2 / patch)) * patch)


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Matrix products in float32, whatever the training around them uses: a view of 10 bits would not be the picture."""
    products = torch.backends.cuda.matmul if device.type == "cuda" else torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    precision = products.fp32_precision
    try:
        products.fp32_precision = "ieee"
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        products.fp32_precision = precision
