"""Leaven: raise useful models from data that nobody has labeled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from leaven.api import compare, demo, embed, evaluate, export, finetune, inspect, list_encoders, list_methods, load, predict, pretrain, search
    from leaven.errors import UserError
    from leaven.run import Run

_HOMES = {
    name: "leaven.api"
    for name in (
        "compare",
        "demo",
        "embed",
        "evaluate",
        "export",
        "finetune",
        "inspect",
        "list_encoders",
        "list_methods",
        "load",
        "predict",
        "pretrain",
        "search",
    )
} | {
    "UserError": "leaven.errors",
    "Run": "leaven.run",
}

__all__ = [
    "Run",
    "UserError",
    "__version__",
    "compare",
    "demo",
    "embed",
    "evaluate",
    "export",
    "finetune",
    "inspect",
    "list_encoders",
    "list_methods",
    "load",
    "predict",
    "pretrain",
    "search",
]


def __getattr__(name: str) -> Any:
    """Public functions are loaded at their first use, so that `leaven --help` does not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'leaven' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
