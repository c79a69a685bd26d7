"""Leaven: raise useful models from data that nobody has labeled."""

import importlib
from typing import TYPE_CHECKING, Any

from leaven.errors import UserError
from leaven.run import Run

__version__ = "0.1.0"

if TYPE_CHECKING:
    from leaven.api.augment import augment
    from leaven.api.claims import list_claims
    from leaven.api.compare import compare
    from leaven.api.demo import demo
    from leaven.api.embed import embed
    from leaven.api.encoders import list_encoders
    from leaven.api.evaluate import evaluate
    from leaven.api.export import export
    from leaven.api.finetune import finetune
    from leaven.api.inspect import inspect
    from leaven.api.interpolate import interpolate
    from leaven.api.load import load
    from leaven.api.methods import list_methods
    from leaven.api.predict import predict
    from leaven.api.pretrain import pretrain
    from leaven.api.protocols import list_protocols
    from leaven.api.reconstruct import reconstruct
    from leaven.api.reproduce import reproduce
    from leaven.api.rewrite import rewrite
    from leaven.api.sample import sample
    from leaven.api.score import score
    from leaven.api.search import search

__all__ = [
    "Run",
    "UserError",
    "__version__",
    "augment",
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
    "list_protocols",
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
    return getattr(importlib.import_module(f"leaven.api.{name.removeprefix('list_')}"), name)
