from __future__ import annotations

from leaven.cli.app import AsJson, Columns, Data, Device, Root, RunFolder, answer, app, columns_of
from leaven.cli.making import Out
from leaven.cli.watch import Watch


@app.command()
def reconstruct(
    run: RunFolder,
    data: Data,
    out: Out = None,
    columns: Columns = None,
    device: Device = "auto",
    data_root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Each sample through the code and back, and how much is lost."""
    import leaven

    with Watch() as watch:
        found = leaven.reconstruct(run, data, out=out, columns=columns_of(columns), device=device, data_root=data_root, progress=watch)
    told = {"out": None if out is None else str(out), **found.to_dict()}
    answer(as_json, told, found.text() if out is None else f"{found.text()}\n{out}")
