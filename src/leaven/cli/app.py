"""The command line application, and how its commands speak."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

import leaven

PANELS = {
    "Raise": ("demo", "inspect", "rewrite", "augment", "pretrain", "finetune"),
    "Judge": ("evaluate", "compare", "reproduce"),
    "Use": ("predict", "embed", "search", "export"),
    "Make": ("sample", "score", "reconstruct", "interpolate"),
    "Look": ("methods", "encoders", "protocols", "claims"),
}
"""What the commands are for, in the order in which they are used."""


app = typer.Typer(pretty_exceptions_enable=False)


def show_version(wanted: bool) -> None:
    if wanted:
        print(f"leaven {leaven.__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[bool, typer.Option("--version", callback=show_version, is_eager=True, help="Say which version this is, and end.")] = False,
) -> None:
    """Raise useful models from data that nobody has labeled."""


AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output; everything else goes to standard error.")]


def first_process() -> bool:
    """Whether this is the only process, or the first of several that share a training; the others are silent."""
    return int(os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_PROCID") or 0) == 0


def say(line: str) -> None:
    """A line for people."""
    if first_process():
        print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def quiet_output() -> Iterator[None]:
    """What libraries, children and a user's own code print goes to standard error: standard output is for the result."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def answer(as_json: bool, content: Any, text: str = "") -> None:
    """The result: JSON for programs, or text for people."""
    if first_process():
        print(json.dumps(content) if as_json else text, flush=True)


def shortened(text: str, most: int = 100) -> str:
    """A text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
