"""The command line application, and what its commands share: options, and how they speak."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from leaven.errors import UserError

app = typer.Typer(
    no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, help="Raise useful models from data that nobody has labeled."
)

Data = Annotated[str, typer.Argument(help="A folder, file, glob, named data set (cifar10, mnist, ...) or demo:digits.")]
RunFolder = Annotated[Path, typer.Argument(help="The folder that `leaven pretrain` made.")]
Columns = Annotated[str | None, typer.Option(help="Which column plays which role: role=column,...")]
Labels = Annotated[str | None, typer.Option(help="Where labels are: a column, a FILE.csv (file,label) or `folder`.")]
Root = Annotated[Path | None, typer.Option("--data-root", envvar="LEAVEN_DATA", help="Where named data sets lie.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output; everything else goes to standard error.")]


def say(line: str) -> None:
    """A line for people."""
    print(line, file=sys.stderr, flush=True)


def answer(as_json: bool, content: Any, text: str = "") -> None:
    """The result: JSON for programs, or text for people."""
    print(json.dumps(content) if as_json else text, flush=True)


def assignments(pairs: list[str] | None, option: str) -> dict[str, str]:
    """name=value texts as a dict."""
    found = {}
    for pair in pairs or []:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UserError(f"{option} takes name=value, not {pair!r}")
        found[name.strip()] = value.strip()
    return found


def columns_of(text: str | None) -> dict[str, str] | None:
    return assignments(text.split(","), "--columns") if text else None
