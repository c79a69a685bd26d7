from __future__ import annotations

import json
from itertools import groupby
from operator import itemgetter
from typing import Annotated, Any

import typer

from leaven.cli import completion
from leaven.cli.app import AsJson, answer, app
from leaven.errors import unknown_name


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
