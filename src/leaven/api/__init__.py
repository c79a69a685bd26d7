"""The public functions: each a short story over the rooms below."""

from leaven.api.classify import finetune, predict
from leaven.api.generate import interpolate, sample, score
from leaven.api.judge import compare, evaluate
from leaven.api.look import inspect, list_encoders, list_methods
from leaven.api.rebuild import reconstruct
from leaven.api.train import demo, pretrain
from leaven.api.use import export, load
from leaven.api.vectors import embed, search
from leaven.api.wordings import rewrite

__all__ = [
    "compare",
    "demo",
    "embed",
    "evaluate",
    "export",
    "finetune",
    "inspect",
    "interpolate",
    "list_encoders",
    "list_methods",
    "load",
    "predict",
    "pretrain",
    "reconstruct",
    "rewrite",
    "sample",
    "score",
    "search",
]
