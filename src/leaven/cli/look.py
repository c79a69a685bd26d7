from __future__ import annotations

import json
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any

import typer

from leaven.cli import completion
from leaven.cli.app import AsJson, Columns, Data, Device, EncoderName, Labels, MethodName, Root, Size, answer, app, assignments, columns_of
from leaven.cli.watch import Watch
from leaven.errors import unknown_name


@app.command()
def inspect(
    data: Data,
    against: Annotated[
        str | None, typer.Option(help="A second data set, to see which of its samples stand in this one.", autocompletion=completion.data)
    ] = None,
    sheet: Annotated[Path | None, typer.Option(help="A contact sheet of the copies that were found: a .png file.")] = None,
    method: MethodName = "auto",
    encoder: EncoderName = "auto",
    budget: Annotated[str | None, typer.Option(help="The length to estimate: 90s, 10m, 2h.")] = None,
    epochs: Annotated[float | None, typer.Option(help="The length to estimate: passes over the data.", min=0)] = None,
    steps: Annotated[int | None, typer.Option(help="The length to estimate: optimiser steps.", min=1)] = None,
    batch: Annotated[int | None, typer.Option(help="Samples a step.", min=1)] = None,
    size: Size = None,
    labels: Labels = None,
    columns: Columns = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="A hyper-parameter of the training to estimate: name=value.")] = None,
    device: Device = "auto",
    data_root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Say what is in a data set, what stands in it twice, what to do with it, and how long that takes here."""
    import leaven

    with Watch() as watch:
        found = leaven.inspect(
            data, against=against, method=method, encoder=encoder, budget=budget, epochs=epochs, steps=steps, batch=batch, size=size, labels=labels,
            columns=columns_of(columns), settings=assignments(settings, "--set"), device=device, data_root=data_root, sheet=sheet,
            say=watch.say, progress=watch,
        )  # fmt: skip
    answer(as_json, found.to_dict(), found.text())


def settings_of(listed: dict[str, Any]) -> str:
    """The parameters of a method or an encoder with their defaults, in the form that --set takes."""
    return " ".join(f"{name}={json.dumps(value)}" for name, value in listed["parameters"].items())


def table_of(listed: dict[str, Any]) -> str:
    """What a method or an encoder is, and each of its parameters on lines of its own."""
    import textwrap

    lines = [listed["name"], textwrap.fill(listed["summary"], 100, initial_indent="  ", subsequent_indent="  ")]
    for name, value in listed["parameters"].items():
        meaning = textwrap.fill(listed["meanings"].get(name, ""), 100, initial_indent="    ", subsequent_indent="    ")
        lines += [f"  {name}={json.dumps(value)}", *([meaning] if meaning.strip() else [])]
    return "\n".join(lines)


def one_of(listed: list[dict[str, Any]], kind: str, name: str, see: str) -> dict[str, Any]:
    found = {each["name"]: each for each in listed}
    if name not in found:
        raise unknown_name(kind, name, found, see)
    return found[name]


@app.command()
def methods(
    name: Annotated[
        str | None, typer.Argument(help="One method, with what its parameters mean.", autocompletion=completion.one_of(found=completion.method_names))
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the methods by family: what they are, their papers and parameters."""
    import leaven

    listed = leaven.list_methods()
    if name is not None:
        one = one_of(listed, "method", name, "leaven methods")
        answer(as_json, one, f"{table_of(one)}\n\n  {one['paper']}, {one['year']}")
        return
    if as_json:
        answer(True, listed)
        return
    for family, members in groupby(sorted(listed, key=itemgetter("family", "year", "name")), itemgetter("family")):
        print(f"{family}\n")
        for method in members:
            print(f"  {method['name']}  ({method['modality']})\n    {method['summary']}")
            print(f"    {method['paper']}, {method['year']}\n    {settings_of(method)}\n")


@app.command()
def encoders(
    name: Annotated[
        str | None,
        typer.Argument(help="One encoder, with what its parameters mean.", autocompletion=completion.one_of(found=completion.encoder_names)),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List Leaven's own encoders; any timm model works by its name as well."""
    import leaven

    listed = leaven.list_encoders()
    if name is not None:
        one = one_of(listed, "encoder", name, "leaven encoders")
        answer(as_json, one, table_of(one))
        return
    if as_json:
        answer(True, listed)
        return
    for encoder in listed:
        print(f"{encoder['name']}  ({', '.join(encoder['modalities'])}: {', '.join(encoder['offers'])})\n  {encoder['summary']}")
        print(f"  {settings_of(encoder)}\n")
    print("Any timm model of pictures works by its name as well, for example resnet18.")
