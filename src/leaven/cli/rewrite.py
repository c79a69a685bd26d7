from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leaven.cli.app import AsJson, Columns, Data, Root, Seed, answer, app, columns_of
from leaven.cli.watch import Watch


@app.command()
def rewrite(
    data: Data,
    by: Annotated[str, typer.Option(help="A file of synonyms, or file.py:function, which takes a list of texts and gives as many.")],
    out: Annotated[
        Path, typer.Option(help="The pairs: a .csv file with the columns anchor and positive. The same command goes on where it stopped.")
    ],
    times: Annotated[int, typer.Option(help="Wordings of each text.", min=1)] = 1,
    batch: Annotated[int, typer.Option(help="Texts that are rewritten at once.", min=1)] = 32,
    share: Annotated[float, typer.Option(help="Of synonyms: which share of the words that have some is exchanged.")] = 0.3,
    seed: Seed = 0,
    columns: Columns = None,
    data_root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Write texts beside other wordings of them, by synonyms or by a model of yours, as pairs to learn from."""
    import leaven

    with Watch() as watch:
        found = leaven.rewrite(
            data, by, out=out, times=times, batch=batch, share=share, seed=seed, columns=columns_of(columns), data_root=data_root, progress=watch
        )  # fmt: skip
    same = f"; {found.same:,} came back as they were" if found.same else ""
    answer(as_json, found.to_dict(), f"{found.out}: {found.pairs:,} pairs{same}")
