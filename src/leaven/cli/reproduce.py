from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leaven.cli import completion
from leaven.cli.app import AsJson, Columns, Device, Labels, Root, answer, app, columns_of
from leaven.cli.watch import Watch


@app.command()
def reproduce(
    claim: Annotated[str, typer.Argument(help="A name from `leaven claims`.", autocompletion=completion.one_of(more=completion.claim_names))],
    data: Annotated[
        str | None, typer.Option(help="Labeled data, where not those that the claim was written for.", autocompletion=completion.data)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The reproduction's folder (default leaven-runs/CLAIM). The same command goes on where it stopped.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Trainings of each kind (default: the claim's own number).", min=1)] = None,
    steps: Annotated[int | None, typer.Option(help="Another length for every training, in optimiser steps.", min=1)] = None,
    labels: Labels = None,
    columns: Columns = None,
    device: Device = "auto",
    data_root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Check a claim of the field: trainings with several seeds, a rule written before them, a picture and a verdict."""
    import leaven

    with Watch() as watch:
        found = leaven.reproduce(
            claim, data=data, out=out, seeds=seeds, steps=steps, labels=labels, columns=columns_of(columns), device=device, data_root=data_root,
            say=watch.say, progress=watch,
        )  # fmt: skip
    answer(as_json, found, f"{found['claim']}: {found['verdict']}. {found['because']}\nThe whole story: {found['report']}")
