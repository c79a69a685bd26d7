from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leaven.cli.app import AsJson, Columns, Data, Device, Root, RunFolder, answer, app, columns_of
from leaven.cli.watch import Watch

SHOWN = 10  # texts
Seed = Annotated[int, typer.Option(help="Seed of what is random in it.")]
Out = Annotated[Path | None, typer.Option(help="A .png of them, a .npy of their numbers, or a .txt of texts.")]


@app.command()
def sample(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="A .png of them, a .npy of their numbers, or a .txt of texts.")],
    count: Annotated[int, typer.Option("-n", "--count", help="How many.")] = 64,
    label: Annotated[str | None, typer.Option(help="Of which class, where the method makes what is asked for.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Make new samples with a run that models its data."""
    import leaven

    found = leaven.sample(run, count, label=label, out=out, seed=seed, device=device)
    if isinstance(found, list):
        answer(as_json, {"out": str(out), "count": len(found), "texts": found}, "\n".join([*found[:SHOWN], f"{out}: {len(found):,} new texts"]))
        return
    shape = list(found.shape[1:])
    answer(as_json, {"out": str(out), "count": len(found), "shape": shape}, f"{out}: {len(found):,} new samples of {' x '.join(map(str, shape))}")


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


@app.command()
def interpolate(
    run: RunFolder,
    a: Annotated[str, typer.Argument(help="A picture file, a text, or with --data a row (17 or '#17') or a file name of it.")],
    b: Annotated[str, typer.Argument(help="Another one.")],
    out: Annotated[Path, typer.Option(help="A .png of the way, a .npy of its numbers, or a .txt of texts.")],
    data: Annotated[str | None, typer.Option(help="The data that A and B are samples of.")] = None,
    steps: Annotated[int, typer.Option(help="How many pictures, both ends included.")] = 9,
    columns: Columns = None,
    device: Device = "auto",
    data_root: Root = None,
    as_json: AsJson = False,
) -> None:
    """The way from one sample to another, through the code."""
    import leaven

    found = leaven.interpolate(run, a, b, data=data, steps=steps, out=out, columns=columns_of(columns), device=device, data_root=data_root)
    told = {"texts": found} if isinstance(found, list) else {"shape": list(found.shape[1:])}
    lines = [*(found if isinstance(found, list) else []), f"{out}: {len(found)} steps from {a} to {b}"]
    answer(as_json, {"out": str(out), "count": len(found), **told}, "\n".join(lines))
