"""A trained encoder as an ordinary module."""

from __future__ import annotations

from torch import nn

from leaven.api import options
from leaven.training.trained import load_network


@options.documented
def load(run: options.RunFolder, role: options.Role = None, *, method: options.OwnMethod = None) -> nn.Module:
    """The trained encoder, in eval mode: raw input -> features."""
    return load_network(run, role, method)
