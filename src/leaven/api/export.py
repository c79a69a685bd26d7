"""Encoders in forms that other programs read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leaven.exporters import find_target
from leaven.exporters.target import Exported
from leaven.run import Run
from leaven.training.trained import load_encoder_of


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
