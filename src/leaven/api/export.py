"""Encoders in forms that other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from leaven.api import options
from leaven.exporters import find_target
from leaven.exporters.target import Exported
from leaven.run import Run
from leaven.training.trained import load_encoder_of


@options.documented
def export(
    run: options.RunFolder,
    *,
    to: Annotated[str, options.Option("The form: onnx, safetensors, segmentation, sentence-transformers, timm or transformers.", names="targets")],
    out: Annotated[options.OptionalPath, "A file, or a folder that is not there yet (default: in RUN/export)."] = None,
    role: options.Role = None,
    settings: Annotated[options.Settings, "A setting of the form: name=value (onnx: pixels=float, opset=20)."] = None,
) -> Exported:
    """Write the encoder in a form that other programs read, compared with the encoder before it is kept."""
    run = Run.open(run)
    target = find_target(to, settings)
    encoder = load_encoder_of(run, role)
    name = f"{role or 'encoder'}{target.suffix}" if target.suffix else f"{to}-{role}" if role else to
    place = run.path / "export" / name if out is None else Path(out)
    difference = target.export(encoder, place, replace=out is None)
    return Exported(place, to, sum(parameter.numel() for parameter in encoder.parameters()), encoder.dim, difference)
