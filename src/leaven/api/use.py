"""Use a trained encoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from leaven.encoders import Encoder
from leaven.encoders.store import load_encoder
from leaven.errors import UserError
from leaven.exporters import find_target
from leaven.exporters.target import Exported
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


def export(
    run: str | Path | Run,
    *,
    to: str,
    out: str | Path | None = None,
    role: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Exported:
    """Write a run's encoder in a form that other programs read, compare it with the encoder, and keep it if both give the same features.

    to: "onnx", "safetensors" or "timm". out: a file, or a folder that is not there yet (default: in RUN/export). role: which of several encoders.
    settings: those of the target; for onnx, pixels ("uint8" or "float" 0-1) and opset.
    """
    opened = run if isinstance(run, Run) else Run.open(run)
    target = find_target(to, settings)
    encoder = load_encoder_of(opened, role)
    name = f"{role or 'encoder'}{target.suffix}" if target.suffix else f"{to}-{role}" if role else to
    place = opened.path / "export" / name if out is None else Path(out)
    difference = target.export(encoder, place, replace=out is None)
    return Exported(place, to, sum(parameter.numel() for parameter in encoder.parameters()), encoder.dim, difference)


def load_encoder_of(run: str | Path | Run, role: str | None = None) -> Encoder:
    """The trained encoder as `load` finds it, for all that must know its input. UserError for a method's own networks, which do not tell it."""
    encoder = load(run, role)
    if not isinstance(encoder, Encoder):
        where = run.path if isinstance(run, Run) else run
        raise UserError("the networks of this method do not tell what input they take", where=where, hint="use them in Python: leaven.load")
    return encoder
