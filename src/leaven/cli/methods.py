from __future__ import annotations

import json
import textwrap
from itertools import groupby
from operator import itemgetter
from typing import Any

from leaven.cli.command import command


@command
def methods(listed: Any, options: Any) -> tuple[Any, str]:
    if options.name is not None:
        (method,) = listed
        return method, f"{table_of(method)}\n\n  {method['paper']}, {method['year']}"
    lines = []
    for family, members in groupby(sorted(listed, key=itemgetter("family", "year", "name")), itemgetter("family")):
        lines.append(f"{family}\n")
        for method in members:
            lines += [f"  {method['name']}  ({method['modality']})", f"    {method['summary']}", f"    {method['paper']}, {method['year']}"]
            lines += [f"    {settings_of(method)}", ""]
    return listed, "\n".join(lines)


def settings_of(listed: dict[str, Any]) -> str:
    """The parameters of a method or an encoder with their defaults, in the form that --set takes."""
    return " ".join(f"{name}={json.dumps(value)}" for name, value in listed["parameters"].items())


def table_of(listed: dict[str, Any]) -> str:
    """What a method or an encoder is, and each of its parameters on lines of its own."""
    lines = [listed["name"], textwrap.fill(listed["summary"], 100, initial_indent="  ", subsequent_indent="  ")]
    for name, value in listed["parameters"].items():
        meaning = textwrap.fill(listed["meanings"].get(name, ""), 100, initial_indent="    ", subsequent_indent="    ")
        lines += [f"  {name}={json.dumps(value)}", *([meaning] if meaning.strip() else [])]
    return "\n".join(lines)
