from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leaven.cli.app import AsJson, Columns, Device, Root, RunFolder, answer, app, columns_of


@app.command()
def interpolate(
    run: RunFolder,
    a: Annotated[str, typer.Argument(help="A picture file, a text, or with --data a row (17 or '#17') or a file name of it.")],
    b: Annotated[str, typer.Argument(help="Another one.")],
    out: Annotated[Path, typer.Option(help="A .png of the way, a .npy of its numbers, or a .txt of texts.")],
    data: Annotated[str | None, typer.Option(help="The data that A and B are samples of.")] = None,
    steps: Annotated[int, typer.Option(help="How many pictures, both ends included.")] = 9,
    columns: Columns = None,
    device: Device = "auto",
    data_root: Root = None,
    as_json: AsJson = False,
) -> None:
    """The way from one sample to another, through the code."""
    import leaven

    found = leaven.interpolate(run, a, b, data=data, steps=steps, out=out, columns=columns_of(columns), device=device, data_root=data_root)
    told = {"texts": found} if isinstance(found, list) else {"shape": list(found.shape[1:])}
    lines = [*(found if isinstance(found, list) else []), f"{out}: {len(found)} steps from {a} to {b}"]
    answer(as_json, {"out": str(out), "count": len(found), **told}, "\n".join(lines))
