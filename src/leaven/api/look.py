"""See what there is."""

from __future__ import annotations

from typing import Any

from leaven.encoders import OWN
from leaven.methods.registry import hyperparameters, registry


def list_methods() -> list[dict[str, Any]]:
    """Every method: name, family, roles, paper, year, and its hyper-parameters with their defaults."""
    return [
        {
            "name": name,
            "family": method.family,
            "roles": list(method.roles),
            "modality": method.modality or "any",
            "paper": method.paper,
            "year": method.year,
            "summary": (method.__doc__ or "").strip().splitlines()[0],
            "parameters": {key: default(parameter.default) for key, parameter in hyperparameters(method).items() if key != "views"},
        }
        for name, method in registry().items()
    ]


def list_encoders() -> list[dict[str, Any]]:
    """Leaven's own encoders: name, modalities, what they offer, and their arguments with defaults. Any timm name works beside them."""
    return [
        {
            "name": name,
            "modalities": list(kind.modalities),
            "offers": list(kind.offers),
            "summary": (kind.__doc__ or "").strip().splitlines()[0],
            "parameters": {key: default(parameter.default) for key, parameter in hyperparameters(kind).items()},
        }
        for name, kind in OWN.items()
    ]


def default(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
