"""The public functions, one file for each command."""

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
from leaven.api.reproduce import list_claims, reproduce
from leaven.api.rewrite import rewrite
from leaven.api.sample import sample
from leaven.api.score import score
from leaven.api.search import search

__all__ = [
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
