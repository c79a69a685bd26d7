"""A few large crops of each picture and several small ones."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from leaven.draw import Draw
from leaven.modalities import Geometry, Value
from leaven.views.pictures import PictureViews


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
