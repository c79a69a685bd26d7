from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leaven.cli.app import AsJson, Columns, Data, Device, Root, RunFolder, answer, app, columns_of
from leaven.cli.making import Seed
from leaven.cli.watch import Watch


@app.command()
def score(
    run: RunFolder,
    data: Data,
    out: Annotated[Path | None, typer.Option(help="A .csv file with the nats of every sample.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="A .png of the least likely pictures, with the likeliest below.")] = None,
    columns: Columns = None,
    seed: Seed = 0,
    device: Device = "auto",
    data_root: Root = None,
    as_json: AsJson = False,
) -> None:
    """How likely each sample is: of the data as a whole, and the ones that do not belong."""
    import leaven

    with Watch() as watch:
        found = leaven.score(
            run, data, out=out, sheet=sheet, columns=columns_of(columns), seed=seed, device=device, data_root=data_root, progress=watch
        )  # fmt: skip
    content = found.to_dict()
    parts = content["splits"] or {"all": content}
    lines = [f"{content['what']}, in nats a sample:"]
    for name, part in parts.items():
        low, high = part["interval"] or (part["nats"],) * 2
        told = f"{part['nats']:.2f} ({low:.2f} to {high:.2f})"
        bits = f"{part['bits_per_value']:.3f} bits a value" if "perplexity" not in part else f"perplexity {part['perplexity']:.1f} a token"
        lines.append(f"  {name:8} {told:28} {bits}   {part['samples']:,} samples")
    lines += ["Least likely:", *(f"  {each['nats']:10.2f}  {each['file']}" for each in content["least_likely"][:5])]
    places = {name: None if path is None else str(path) for name, path in (("out", out), ("sheet", sheet))}
    answer(as_json, {**places, **content}, "\n".join(lines))
