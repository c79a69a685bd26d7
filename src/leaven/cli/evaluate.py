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
    Root,
    RunFolder,
    Seed,
    answer,
    app,
    columns_of,
)
from leaven.cli.watch import Watch
from leaven.errors import UserError


@app.command()
def evaluate(
    run: RunFolder,
    data: Data,
    labels: Labels = None,
    columns: Columns = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Any of knn,linear,few-label,retrieval,clusters,pairs,sts,classifier,samples (default: what the data is made for).",
            autocompletion=completion.some_of("knn", "linear", "few-label", "retrieval", "clusters", "pairs", "sts", "classifier", "samples"),
        ),
    ] = None,
    labels_per_class: Annotated[str, typer.Option(help="Counts of the few-label curve.")] = "1,2,5,10",
    judge: Annotated[Path | None, typer.Option(help="For samples: a run that classifies, by whose features they are told from real ones.")] = None,
    count: Annotated[int | None, typer.Option(help="For samples: how many are made (default: as many as are scored, at most 10,000).", min=1)] = None,
    budget: Annotated[str, typer.Option(help="Time for training on the labels alone, the floor that costs most.")] = "2m",
    seed: Seed = 0,
    device: Device = "auto",
    data_root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Say what a run is worth: kNN, linear probe and few-label curve, pairs, a classifier's accuracy, or its samples, beside their floors."""
    import leaven

    try:
        counts = tuple(int(count) for count in labels_per_class.split(","))
    except ValueError:
        raise UserError(f"--labels-per-class takes whole numbers like 1,2,5,10, not {labels_per_class!r}") from None
    with Watch() as watch:
        card = leaven.evaluate(
            run, data, labels=labels, columns=columns_of(columns), protocols=tuple(protocol.split(",")) if protocol else None,
            labels_per_class=counts, judge=judge, count=count, budget=budget, seed=seed, device=device, data_root=data_root, say=watch.say,
            progress=watch,
        )  # fmt: skip
    answer(as_json, {**card.to_dict(), "report": str(run / "report.html")}, f"{card.text()}\nThe whole story: {run / 'report.html'}")
