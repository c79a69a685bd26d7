from __future__ import annotations

import json
import textwrap
from typing import Annotated, Any

import typer

from leaven.cli import completion
from leaven.cli.app import AsJson, answer, app
from leaven.errors import unknown_name


@app.command()
def protocols(
    name: Annotated[str | None, typer.Argument(help="One protocol.", autocompletion=completion.one_of(found=completion.protocol_names))] = None,
    as_json: AsJson = False,
) -> None:
    """List the protocols that `leaven evaluate` scores by: what they measure, what they need, and their options."""
    import leaven

    listed = {protocol["name"]: protocol for protocol in leaven.list_protocols()}
    if name is not None and name not in listed:
        raise unknown_name("protocol", name, listed, "leaven protocols")
    shown = list(listed.values()) if name is None else [listed[name]]
    answer(as_json, shown if name is None else shown[0], "\n\n".join(map(described, shown)))


def described(protocol: dict[str, Any]) -> str:
    """A protocol and its options on lines of their own."""
    lines = [f"{protocol['name']}  ({protocol['title']})", *wrapped(protocol["summary"], 2), *wrapped(f"Needs {protocol['needs']}.", 2)]
    for option, value in protocol["options"].items():
        lines += [f"  --set {protocol['name']}.{option}={shown_value(value)}", *wrapped(protocol["meanings"].get(option, ""), 4)]
    return "\n".join(lines)


def shown_value(value: Any) -> str:
    """A default, in the form that --set takes."""
    return ",".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value) if value != "" else json.dumps(value)


def wrapped(text: str, indent: int) -> list[str]:
    return textwrap.wrap(text, 100, initial_indent=" " * indent, subsequent_indent=" " * indent)
