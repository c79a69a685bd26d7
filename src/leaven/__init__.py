"""Leaven: raise useful models from data that nobody has labeled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from leaven.api import (
        compare,
        demo,
        embed,
        evaluate,
        export,
        finetune,
        inspect,
        interpolate,
        list_encoders,
        list_methods,
        load,
        predict,
        pretrain,
        reconstruct,
        rewrite,
        sample,
        score,
        search,
    )
    from leaven.errors import UserError
    from leaven.experiments.runner import list_claims, reproduce
    from leaven.run import Run

_ELSEWHERE = {
    "Run": "leaven.run",
    "UserError": "leaven.errors",
    "list_claims": "leaven.experiments.runner",
    "reproduce": "leaven.experiments.runner",
}
"""Homes of the public names that are not functions of leaven.api."""

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
    "interpolate",
    "list_claims",
    "list_encoders",
    "list_methods",
    "load",
    "predict",
    "pretrain",
    "reconstruct",
    "reproduce",
    "rewrite",
    "sample",
    "score",
    "search",
]


def __getattr__(name: str) -> Any:
    """Public functions are loaded at their first use, so that `leaven --help` does not wait for torch."""
    if name not in __all__:
        raise AttributeError(f"module 'leaven' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_ELSEWHERE.get(name, "leaven.api")), name)
