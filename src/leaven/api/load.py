"""A trained encoder as an ordinary module."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from leaven.methods.method import Method
from leaven.run import Run
from leaven.training.trained import load_network


def load(run: str | Path | Run, role: str | None = None, *, method: str | type[Method] | None = None) -> nn.Module:
    """The trained encoder, in eval mode: raw input -> features. `role` chooses among several encoders.

    method: the class, or file.py:Class, of a run whose networks are those of a method of your own; code that a run names is never run by itself.
    """
    return load_network(run, role, method)
