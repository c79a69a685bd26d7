from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leaven.cli.app import (
    AcceptData,
    Accumulate,
    AsJson,
    Batch,
    Columns,
    Data,
    Device,
    Devices,
    Epochs,
    KeepGoing,
    Labels,
    Precision,
    Root,
    RunFolder,
    Seed,
    Steps,
    Track,
    answer,
    app,
    assignments,
    columns_of,
)
from leaven.cli.watch import Watch
from leaven.run import when


@app.command()
def finetune(
    run: RunFolder,
    data: Data,
    labels: Labels = None,
    out: Annotated[
        Path | None, typer.Option(help="The classifier's folder (default leaven-runs/DATA-finetune). The same command goes on where it stopped.")
    ] = None,
    train: Annotated[str, typer.Option(help="all, last:N (the last N blocks of the encoder) or head (the classifier alone).")] = "all",
    budget: Annotated[str | None, typer.Option(help="How long: 90s, 10m, 2h (default: as long as suits the number of labels).")] = None,
    epochs: Epochs = None,
    steps: Steps = None,
    batch: Batch = None,
    all_labels: Annotated[
        bool | None,
        typer.Option("--all-labels/--keep-labels", help="Learn from the labels that `leaven evaluate` would test on, too, where there is no split."),
    ] = None,
    early_stopping: Annotated[
        bool | None,
        typer.Option(
            "--early-stopping/--no-early-stopping", help="Hold out a fifth of the labels to tell when to end (default: if there are enough)."
        ),
    ] = None,
    patience: Annotated[int, typer.Option(help="Looks at held-out labels without gain, after which to end.", min=1)] = 10,
    columns: Columns = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A hyper-parameter: name=value, as class_weights=balanced; views. and recipe. reach into parts.")
    ] = None,
    seed: Seed = 0,
    precision: Precision = "auto",
    device: Device = "auto",
    devices: Devices = 1,
    accumulate: Accumulate = 1,
    data_root: Root = None,
    keep_going: KeepGoing = False,
    accept_data: AcceptData = False,
    track: Track = None,
    as_json: AsJson = False,
) -> None:
    """Train a classifier on a few labels, from a run's encoder."""
    import leaven

    with Watch() as watch:
        made = leaven.finetune(
            run, data, labels=labels, out=out, train=train, budget=budget, epochs=epochs, steps=steps, batch=batch, all_labels=all_labels,
            early_stopping=early_stopping, patience=patience, columns=columns_of(columns), settings=assignments(settings, "--set"), seed=seed,
            precision=precision, device=device, devices=devices, accumulate=accumulate, data_root=data_root, keep_going=keep_going,
            accept_data=accept_data, track=track or (), say=watch.say, progress=watch,
        )  # fmt: skip
    asked, result = made.config["asked"], made.config["result"]
    learned, classes = asked["labels"]["learned"], asked["data"]["spec"]["class_names"]
    content = {
        "run": str(made.path),
        "start": str(run),
        "data": asked["data"]["name"],
        "classes": classes,
        "labels": asked["labels"]["learned"],
        **result,
    }
    where = f" --labels {labels}" if labels else ""
    lines = [
        f"{made.path}: {len(classes)} classes from {learned:,} labels, {result['steps']} steps, {result['seconds']:.0f} s",
        *(f"{verdict['verdict']} {when(verdict)}: {verdict['why']}" for verdict in result["health"]),
        f"Next: leaven evaluate {made.path} {data}{where}, and leaven predict {made.path} {data} --out predicted.csv",
    ]
    answer(as_json, content, "\n".join(lines))
