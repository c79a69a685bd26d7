"""The views that a method gets when it names none."""

from __future__ import annotations

from leaven.errors import UserError
from leaven.modalities import find_modality
from leaven.views.views import Views

SIMILAR = {"byol": "contrast", "multicrop": "contrast", "reconstruction": "plain", "labels": "plain"}
"""What a purpose is served by in a modality that has no views of its own for it."""


def default_views(purpose: str, modality: str) -> Views:
    """The usual views of one modality for "contrast", "byol", "multicrop" (several views each), "reconstruction", "labels" or "plain" (one view).

    Raises UserError where there are none.
    """
    usual = find_modality(modality).views
    settings = usual.get(purpose) or usual.get(SIMILAR.get(purpose, ""))
    if settings is None:
        raise UserError(f"no default views of {modality} for {purpose!r}", where="views", hint=f"there are some for {', '.join(usual) or 'nothing'}")
    return Views.from_dict(dict(settings))
