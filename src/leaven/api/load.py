"""A trained encoder as an ordinary module."""

from __future__ import annotations

from torch import nn

from leaven.api.options import OwnMethod, Role, RunFolder, documented
from leaven.training.trained import load_network


@documented
def load(run: RunFolder, role: Role = None, *, method: OwnMethod = None) -> nn.Module:
    """The trained encoder, in eval mode: raw input -> features."""
    return load_network(run, role, method)
