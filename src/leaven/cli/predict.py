from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leaven.cli.app import (
    AsJson,
    Columns,
    Data,
    Device,
    Root,
    RunFolder,
    answer,
    app,
    columns_of,
)
from leaven.cli.watch import Watch


@app.command()
def predict(
    run: RunFolder,
    data: Data,
    out: Annotated[Path, typer.Option(help="Where the labels go: a .csv file (file,label,probability).")],
    uncertain_first: Annotated[bool, typer.Option("--uncertain-first", help="The samples whose label is least sure first.")] = False,
    columns: Columns = None,
    device: Device = "auto",
    data_root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Label the rest of the data: every sample's class and how sure it is."""
    import leaven

    with Watch() as watch:
        found = leaven.predict(
            run, data, out=out, uncertain_first=uncertain_first, columns=columns_of(columns), device=device, data_root=data_root,
            say=watch.say, progress=watch,
        )  # fmt: skip
    counts = found.counts
    told = ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items(), key=lambda item: -item[1])[:10])
    more = f", and {len(counts) - 10} classes more" if len(counts) > 10 else ""
    content = {"out": str(out), "count": len(found), "dim": len(found.classes), "classes": list(found.classes), "counts": counts}
    answer(as_json, content, f"{out}: {len(found):,} labels: {told}{more}")
