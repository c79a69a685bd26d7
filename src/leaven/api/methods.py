"""Every method there is."""

from __future__ import annotations

from typing import Any

from leaven.methods.registry import explained, hyperparameters, registry


def list_methods() -> list[dict[str, Any]]:
    """Every method: name, family, roles, paper, year, what it does beside giving features, and its hyper-parameters with defaults and meanings."""
    return [
        {
            "name": name,
            "family": method.family,
            "roles": list(method.roles),
            "modality": method.modality or "any",
            "paper": method.paper,
            "year": method.year,
            "summary": explained(method)[0][0],
            "abilities": method.abilities(),
            "parameters": {key: default(parameter.default) for key, parameter in hyperparameters(method).items() if key != "views"},
            "meanings": explained(method)[1],
        }
        for name, method in registry().items()
    ]


def default(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
