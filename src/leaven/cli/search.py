from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leaven.cli.app import AsJson, Columns, Data, Device, Labels, Role, Root, RunFolder, answer, app, columns_of
from leaven.cli.watch import Watch


@app.command()
def search(
    run: RunFolder,
    data: Data,
    query: Annotated[list[str], typer.Option(help="A picture file, a text, a row (17 or '#17') or a file name of the data. May be repeated.")],
    k: Annotated[int, typer.Option("-k", help="How many to find.")] = 10,
    vectors: Annotated[Path | None, typer.Option(help="What `leaven embed` wrote of this data, so that it is not encoded again.")] = None,
    out: Annotated[Path | None, typer.Option(help="A contact sheet of what was found: a .png file.")] = None,
    role: Role = None,
    labels: Labels = None,
    columns: Columns = None,
    device: Device = "auto",
    data_root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Find the samples that are most like a picture or a text."""
    import leaven

    with Watch() as watch:
        found = leaven.search(
            run, data, query, k=k, vectors=vectors, out=out, role=role, labels=labels, columns=columns_of(columns), device=device,
            data_root=data_root, progress=watch,
        )  # fmt: skip
    lines = []
    for asked, neighbours in zip(query, found, strict=True):
        width = max(len(each["file"]) for each in neighbours)
        told = (
            f"{each['rank']:4}  {each['similarity']:.4f}  {each['file']:{width}}  {each.get('label') or ''}  {shortened(each.get('text', ''))}"
            for each in neighbours
        )
        lines += [asked, *(line.rstrip() for line in told)]
    if out is not None:
        lines.append(f"The contact sheet: {out}")
    one = len(query) == 1
    content = {"query": query[0] if one else query, "neighbours": found[0] if one else found, "sheet": None if out is None else str(out)}
    answer(as_json, content, "\n".join(lines))


def shortened(text: str, most: int = 100) -> str:
    """On one line."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
