"""A trained encoder as an ordinary module."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from leaven.encoders.store import load_encoder
from leaven.errors import UserError
from leaven.methods.method import Method
from leaven.run import Run, read_json
from leaven.training.pretraining import trained_method


def load(run: str | Path | Run, role: str | None = None, *, method: str | type[Method] | None = None) -> nn.Module:
    """The trained encoder, in eval mode: raw input -> features. `role` chooses among several encoders.

    method: the class, or file.py:Class, of a run whose networks are those of a method of your own; code that a run names is never run by itself.
    """
    opened = run if isinstance(run, Run) else Run.open(run)
    folder = opened.encoder_folder if role is None else opened.encoder_folder / role
    if role is None and not (folder / "config.json").is_file() and (roles := sorted(path.parent.name for path in folder.glob("*/config.json"))):
        raise UserError(f"this run has several encoders: {', '.join(roles)}", where=opened.path, hint="say which with role")
    if role is not None and not folder.is_dir():
        raise UserError(f"no encoder is named {role!r}", where=opened.path, hint="leave role out to see what there is")
    if (folder / "config.json").is_file() and read_json(folder / "config.json").get("library") == "method":
        encoders = trained_method(opened, method).encoders()
        return encoders[role] if role else next(iter(encoders.values()))
    return load_encoder(folder)
