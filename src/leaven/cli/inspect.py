from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leaven.cli import completion
from leaven.cli.app import AsJson, Columns, Data, Device, EncoderName, Labels, MethodName, Root, Size, answer, app, assignments, columns_of
from leaven.cli.watch import Watch


@app.command()
def inspect(
    data: Data,
    against: Annotated[
        str | None, typer.Option(help="A second data set, to see which of its samples stand in this one.", autocompletion=completion.data)
    ] = None,
    sheet: Annotated[Path | None, typer.Option(help="A contact sheet of the copies that were found: a .png file.")] = None,
    method: MethodName = "auto",
    encoder: EncoderName = "auto",
    budget: Annotated[str | None, typer.Option(help="The length to estimate: 90s, 10m, 2h.")] = None,
    epochs: Annotated[float | None, typer.Option(help="The length to estimate: passes over the data.", min=0)] = None,
    steps: Annotated[int | None, typer.Option(help="The length to estimate: optimiser steps.", min=1)] = None,
    batch: Annotated[int | None, typer.Option(help="Samples a step.", min=1)] = None,
    size: Size = None,
    labels: Labels = None,
    columns: Columns = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="A hyper-parameter of the training to estimate: name=value.")] = None,
    device: Device = "auto",
    data_root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Say what is in a data set, what stands in it twice, what to do with it, and how long that takes here."""
    import leaven

    with Watch() as watch:
        found = leaven.inspect(
            data, against=against, method=method, encoder=encoder, budget=budget, epochs=epochs, steps=steps, batch=batch, size=size, labels=labels,
            columns=columns_of(columns), settings=assignments(settings, "--set"), device=device, data_root=data_root, sheet=sheet,
            say=watch.say, progress=watch,
        )  # fmt: skip
    answer(as_json, found.to_dict(), found.text())
