from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leaven.cli import completion
from leaven.cli.app import AsJson, Role, RunFolder, answer, app, assignments
from leaven.exporters import target_names


@app.command()
def export(
    run: RunFolder,
    to: Annotated[str, typer.Option(help=f"The form: {', '.join(target_names())}.", autocompletion=completion.one_of(found=target_names))],
    out: Annotated[Path | None, typer.Option(help="A file, or a folder that is not there yet (default: in RUN/export).")] = None,
    role: Role = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="A setting of the form: name=value (onnx: pixels=float, opset=20).")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the encoder in a form that other programs read, compared with the encoder before it is kept."""
    import leaven

    found = leaven.export(run, to=to, out=out, role=role, settings=assignments(settings, "--set"))
    nearness = f"within {found.difference.relative:.1e} of" if found.difference.relative else "equal to"
    answer(as_json, found.to_dict(), f"{found.out}: {found.count:,} parameters, {found.dim} features, {nearness} the encoder's")
