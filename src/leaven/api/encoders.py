"""Every encoder there is."""

from __future__ import annotations

from typing import Any

from leaven.api.methods import default
from leaven.encoders import OWN
from leaven.methods.registry import explained, hyperparameters


def list_encoders() -> list[dict[str, Any]]:
    """Leaven's own encoders: name, modalities, what they offer, and their arguments with defaults and meanings. Any timm name works beside them."""
    return [
        {
            "name": name,
            "modalities": list(kind.modalities),
            "offers": list(kind.offers),
            "summary": explained(kind)[0][0],
            "parameters": {key: default(parameter.default) for key, parameter in hyperparameters(kind).items()},
            "meanings": explained(kind)[1],
        }
        for name, kind in OWN.items()
    ]
