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
    Labels,
    Role,
    Root,
    RunFolder,
    Seed,
    answer,
    app,
    assignments,
    columns_of,
)
from leaven.cli.watch import Watch


@app.command()
def evaluate(
    run: RunFolder,
    data: Data,
    labels: Labels = None,
    columns: Columns = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help=f"Any of {','.join(completion.protocol_names())}, or file.py:Class (default: what suits the run and the data).",
            autocompletion=completion.some_of(found=completion.protocol_names),
        ),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="An option of a protocol (`leaven protocols`): few-label.counts=1,2,5. May be repeated.")
    ] = None,
    role: Role = None,
    budget: Annotated[str, typer.Option(help="Time for floors that must be trained: the same encoder on the labels alone.")] = "2m",
    seed: Seed = 0,
    device: Device = "auto",
    data_root: Root = None,
    labels_per_class: Annotated[str | None, typer.Option(help="The same as --set few-label.counts=...")] = None,
    judge: Annotated[Path | None, typer.Option(help="The same as --set samples.judge=...")] = None,
    count: Annotated[int | None, typer.Option(help="The same as --set samples.count=...")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a run is worth, by scores of its features, its pairs, its classifier or its samples, beside their floors."""
    import leaven

    with Watch() as watch:
        card = leaven.evaluate(
            run, data, labels=labels, columns=columns_of(columns), protocols=tuple(protocol.split(",")) if protocol else None,
            settings=assignments(settings, "--set"), role=role, budget=budget, seed=seed, device=device, data_root=data_root,
            labels_per_class=labels_per_class, judge=judge, count=count, say=watch.say, progress=watch,
        )  # fmt: skip
    answer(as_json, {**card.to_dict(), "report": str(run / "report.html")}, f"{card.text()}\nThe whole story: {run / 'report.html'}")
