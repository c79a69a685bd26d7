"""The public functions: each a short story over the rooms below."""

from leaven.api.judge import evaluate
from leaven.api.look import list_encoders, list_methods
from leaven.api.train import demo, pretrain
from leaven.api.use import embed, load

__all__ = ["demo", "embed", "evaluate", "list_encoders", "list_methods", "load", "pretrain"]
