"""A user's own code, named as path/to/file.py:Name."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

from leaven.errors import UserError


def from_file(address: str, hint: str) -> Any:
    """What a file defines by a name; the file is run. Raises UserError where there is no such file or name, with this hint."""
    path, _, name = address.rpartition(":")
    if not Path(path).is_file():
        raise UserError("no such file", where=path, hint=hint)
    spec = importlib.util.spec_from_file_location(f"leaven_user_{Path(path).stem}", path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # where dataclasses and inspect look for it
    spec.loader.exec_module(module)
    if not hasattr(module, name):
        raise UserError(f"this file defines no {name!r}", where=path, hint=hint)
    return getattr(module, name)
