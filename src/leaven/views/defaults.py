"""The views that a method gets when it names none."""

from collections.abc import Mapping
from typing import Any

from leaven.errors import UserError
from leaven.modalities import find_modality
from leaven.views.views import Views

SIMILAR = {"byol": "contrast", "multicrop": "contrast", "reconstruction": "plain", "labels": "plain"}
"""What a purpose is served by in a modality that has no views of its own for it."""


def views_for(purpose: str, modality: str) -> Mapping[str, Any] | None:
    """The kind and the settings of the usual views of one modality for a purpose; None where there are none."""
    usual = find_modality(modality).views
    return usual.get(purpose) or usual.get(SIMILAR.get(purpose, ""))


def default_views(purpose: str, modality: str) -> Views:
    """The usual views of one modality for "contrast", "byol", "multicrop" (several views each), "reconstruction", "labels" or "plain" (one view).

    Raises UserError where there are none.
    """
    settings = views_for(purpose, modality)
    if settings is None:
        usual = ", ".join(find_modality(modality).views) or "nothing"
        raise UserError(f"no default views of {modality} for {purpose!r}", where="views", hint=f"there are some for {usual}")
    return Views.from_dict(dict(settings))
