from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leaven.cli.app import AsJson, Device, RunFolder, answer, app
from leaven.cli.making import SHOWN, Seed


@app.command()
def sample(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="A .png of them, a .npy of their numbers, or a .txt of texts.")],
    count: Annotated[int, typer.Option("-n", "--count", help="How many.")] = 64,
    label: Annotated[str | None, typer.Option(help="Of which class, where the method makes what is asked for.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Make new samples with a run that models its data."""
    import leaven

    found = leaven.sample(run, count, label=label, out=out, seed=seed, device=device)
    if isinstance(found, list):
        answer(as_json, {"out": str(out), "count": len(found), "texts": found}, "\n".join([*found[:SHOWN], f"{out}: {len(found):,} new texts"]))
        return
    shape = list(found.shape[1:])
    answer(as_json, {"out": str(out), "count": len(found), "shape": shape}, f"{out}: {len(found):,} new samples of {' x '.join(map(str, shape))}")
