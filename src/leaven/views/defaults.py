"""The views that a method gets when it names none."""

from __future__ import annotations

from leaven.errors import UserError
from leaven.modalities import find_modality
from leaven.views.views import Views


def default_views(purpose: str, modality: str) -> Views:
    """The usual views for "contrast", "byol", "multicrop", "reconstruction", "labels" or "plain" of one modality. UserError where there are none."""
    usual = find_modality(modality).views
    if purpose not in usual:
        raise UserError(f"no default views of {modality} for {purpose!r}", where="views", hint=f"there are some for {', '.join(usual) or 'nothing'}")
    return Views.from_dict(dict(usual[purpose]))
