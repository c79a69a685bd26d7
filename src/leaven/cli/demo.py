from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leaven.cli.app import (
    AsJson,
    answer,
    app,
)
from leaven.cli.watch import Watch


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where the run is kept.")] = Path("leaven-runs/demo"),
    budget: Annotated[str, typer.Option(help="Time for pre-training.")] = "60s",
    as_json: AsJson = False,
) -> None:
    """Pre-train on handwritten digits without labels, then see what that is worth: no network, about 3 minutes on 2 cores."""
    import leaven

    with Watch() as watch:
        card = leaven.demo(out=out, budget=budget, say=watch.say, progress=watch)
    answer(as_json, {**card.to_dict(), "report": str(out / "report.html")}, f"{card.text()}\nThe whole story: {out / 'report.html'}")
