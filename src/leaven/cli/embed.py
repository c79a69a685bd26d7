from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leaven.cli import completion
from leaven.cli.app import AsJson, Columns, Data, Device, Labels, Role, Root, RunFolder, answer, app, columns_of
from leaven.cli.watch import Watch


@app.command()
def embed(
    run: RunFolder,
    data: Data,
    out: Annotated[Path, typer.Option(help="Where the vectors go: a .npy file, or a folder of parquet shards, which the same command goes on with.")],
    shard_size: Annotated[int | None, typer.Option(help="Samples a shard (default: as many as make 64 MB).")] = None,
    precision: Annotated[
        str,
        typer.Option(help="fp32, bf16 or auto (bf16 where the machine is fast in it).", autocompletion=completion.one_of("fp32", "bf16", "auto")),
    ] = "fp32",
    role: Role = None,
    labels: Labels = None,
    columns: Columns = None,
    device: Device = "auto",
    data_root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Write the features of every sample."""
    import leaven

    with Watch() as watch:
        vectors = leaven.embed(
            run, data, out=out, shard_size=shard_size, precision=precision, role=role, labels=labels, columns=columns_of(columns), device=device,
            data_root=data_root, say=watch.say, progress=watch,
        )  # fmt: skip
    count, dim = vectors.shape
    answer(as_json, {"out": str(out), "count": count, "dim": dim}, f"{out}: {count:,} vectors of {dim} numbers")
