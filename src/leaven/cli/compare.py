from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leaven.cli import completion
from leaven.cli.app import (
    AsJson,
    Columns,
    Data,
    Device,
    EncoderName,
    Labels,
    Precision,
    Root,
    Size,
    answer,
    app,
    assignments,
    columns_of,
)
from leaven.cli.watch import Watch


@app.command()
def compare(
    data: Data,
    methods: Annotated[
        str,
        typer.Option(
            help="Names from `leaven methods`, with commas between them, or all.",
            autocompletion=completion.some_of("all", more=completion.method_names),
        ),
    ] = "all",
    encoder: EncoderName = "auto",
    budget: Annotated[str | None, typer.Option(help="Time of each training: 90s, 10m, 2h (default 3m).")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps of each training, in place of a time.", min=1)] = None,
    seeds: Annotated[int, typer.Option(help="Trainings of each method.", min=1)] = 3,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Trainings at a time, each on its share of the CPU cores.", min=1)] = 1,
    out: Annotated[
        Path | None, typer.Option(help="The comparison's folder (default leaven-runs/compare-DATA). The same command goes on where it stopped.")
    ] = None,
    labels: Labels = None,
    columns: Columns = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A hyper-parameter: method:name=value, or name=value for all methods. May be repeated.")
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            help="Any of knn,linear,few-label,retrieval,clusters.",
            autocompletion=completion.some_of("knn", "linear", "few-label", "retrieval", "clusters"),
        ),
    ] = "knn,linear",
    size: Size = None,
    precision: Precision = "auto",
    device: Device = "auto",
    data_root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Train several methods for the same time and score them beside their floors: a table with intervals, and a page with pictures."""
    import leaven

    with Watch() as watch:
        comparison = leaven.compare(
            data, methods=methods, encoder=encoder, budget=budget, steps=steps, seeds=seeds, jobs=jobs, out=out, labels=labels,
            columns=columns_of(columns), settings=assignments(settings, "--set"), protocols=tuple(protocol.split(",")), size=size,
            precision=precision, device=device, data_root=data_root, say=watch.say, progress=watch,
        )  # fmt: skip
    content = comparison.to_dict()
    answer(as_json, content, f"{comparison.text()}\nThe whole story: {content['report']}")
