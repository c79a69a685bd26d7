"""The views that a method gets when it names none."""

from __future__ import annotations

from leaven.errors import UserError
from leaven.views.counts import CountViews
from leaven.views.multicrop import MultiCropViews
from leaven.views.pictures import PictureViews
from leaven.views.text import TextViews
from leaven.views.vectors import VectorViews
from leaven.views.views import Views

MILD = PictureViews(count=1, jitter=0, grey=0)
MIRRORED = PictureViews(count=1, crop_min=1, jitter=0, grey=0)
UNCHANGED = PictureViews(count=1, crop_min=1, flip=0, jitter=0, grey=0)
WHOLE: dict[str, Views] = {
    "vector": VectorViews(count=1, noise=0, drop=0),
    "counts": CountViews(count=1, drop=0),
    "text": TextViews(count=1, drop=0),
}

DEFAULTS: dict[str, dict[str, Views]] = {
    # Chen et al. 2020, with its settings for small pictures.
    "contrast": {"pixels": PictureViews(), "vector": VectorViews(), "counts": CountViews(), "text": TextViews()},
    # Grill et al. 2020, table 6, without its blur, which small pictures do not survive.
    "byol": {"pixels": PictureViews(saturation=0.2, solarize=(0.0, 0.2)), "vector": VectorViews(), "counts": CountViews(), "text": TextViews()},
    # Caron et al. 2020 and 2021, without the blur; plain numbers, counts and text have no small crops.
    "multicrop": {"pixels": MultiCropViews(), "vector": VectorViews(), "counts": CountViews(), "text": TextViews()},
    # He et al. 2022: a crop and a flip.
    "reconstruction": {"pixels": MILD, **WHOLE},
    # Crops would make things look larger in training than they are in use (Touvron et al. 2019).
    "labels": {"pixels": MIRRORED, **WHOLE},
    "plain": {"pixels": UNCHANGED, **WHOLE},
}


def default_views(purpose: str, modality: str) -> Views:
    """The usual views for "contrast", "byol", "multicrop", "reconstruction", "labels" or "plain" of one modality. UserError where there are none."""
    if purpose not in DEFAULTS:
        raise UserError(f"no default views for {purpose!r}", where="views", hint=f"choose from {', '.join(DEFAULTS)}")
    if modality not in DEFAULTS[purpose]:
        raise UserError(f"no default views of {modality} for {purpose!r}", where="views", hint=f"there are some of {', '.join(DEFAULTS[purpose])}")
    return DEFAULTS[purpose][modality]
