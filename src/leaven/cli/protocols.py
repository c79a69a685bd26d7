from __future__ import annotations

import json
import textwrap
from typing import Any

from leaven.cli.command import command


@command
def protocols(listed: Any, options: Any) -> tuple[Any, str]:
    return listed if options.name is None else listed[0], "\n\n".join(map(described, listed))


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
