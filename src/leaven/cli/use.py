from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leaven.cli.app import AsJson, Columns, Data, Device, Root, RunFolder, answer, app, columns_of


@app.command()
def embed(
    run: RunFolder,
    data: Data,
    out: Annotated[Path, typer.Option(help="Where the vectors go: a .npy file.")],
    columns: Columns = None,
    device: Device = "auto",
    data_root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Write the features of every sample."""
    import leaven

    vectors = leaven.embed(run, data, out=out, columns=columns_of(columns), device=device, data_root=data_root)
    count, dim = vectors.shape
    answer(as_json, {"out": str(out), "count": count, "dim": dim}, f"{out}: {count:,} vectors of {dim} numbers")
