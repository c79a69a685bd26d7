from __future__ import annotations

from typing import Annotated

import typer

from leaven.cli.app import AsJson, Columns, Data, Device, Labels, Root, RunFolder, answer, app, columns_of, say
from leaven.errors import UserError


@app.command()
def evaluate(
    run: RunFolder,
    data: Data,
    labels: Labels = None,
    columns: Columns = None,
    protocol: Annotated[str, typer.Option(help="Any of knn,linear,few-label.")] = "knn,linear,few-label",
    labels_per_class: Annotated[str, typer.Option(help="Counts of the few-label curve.")] = "1,2,5,10",
    budget: Annotated[str, typer.Option(help="Time for training on the labels alone, the floor that costs most.")] = "2m",
    seed: int = 0,
    device: Device = "auto",
    data_root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Say what a run's encoder is worth: kNN, linear probe and few-label curve, beside their floors."""
    import leaven

    try:
        counts = tuple(int(count) for count in labels_per_class.split(","))
    except ValueError:
        raise UserError(f"--labels-per-class takes whole numbers like 1,2,5,10, not {labels_per_class!r}") from None
    card = leaven.evaluate(
        run, data, labels=labels, columns=columns_of(columns), protocols=tuple(protocol.split(",")), labels_per_class=counts,
        budget=budget, seed=seed, device=device, data_root=data_root, say=say,
    )  # fmt: skip
    answer(as_json, {**card.to_dict(), "report": str(run / "report.html")}, f"{card.text()}\nThe whole story: {run / 'report.html'}")
