"""The command line application, and what its commands share: options, and how they speak."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from leaven.cli import completion
from leaven.errors import UserError

PANELS = {
    "Raise": ("demo", "inspect", "rewrite", "pretrain", "finetune"),
    "Judge": ("evaluate", "compare", "reproduce"),
    "Use": ("predict", "embed", "search", "export"),
    "Make": ("sample", "score", "reconstruct", "interpolate"),
    "Look": ("methods", "encoders", "protocols", "claims"),
}
"""What the commands are for, in the order in which they are used."""


class InOrderOfUse(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        order = [name for names in PANELS.values() for name in names]
        return sorted(self.commands, key=lambda name: order.index(name) if name in order else len(order))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command: Any = super().get_command(ctx, cmd_name)
        if command is not None:
            command.rich_help_panel = next((panel for panel, names in PANELS.items() if cmd_name in names), None)
        return command


app = typer.Typer(cls=InOrderOfUse, pretty_exceptions_enable=False)


def show_version(asked: bool) -> None:
    if asked:
        from leaven import __version__

        print(f"leaven {__version__}")
        raise typer.Exit


@app.callback()
def leaven(
    version: Annotated[bool, typer.Option("--version", callback=show_version, is_eager=True, help="Say which version this is, and end.")] = False,
) -> None:
    """Raise useful models from data that nobody has labeled."""


Data = Annotated[
    str, typer.Argument(help="A folder, file, glob, named data set (cifar10, mnist, ...) or demo:digits.", autocompletion=completion.data)
]
RunFolder = Annotated[Path, typer.Argument(help="The folder that `leaven pretrain` made.")]
Columns = Annotated[str | None, typer.Option(help="Which column plays which role: role=column,...")]
Labels = Annotated[str | None, typer.Option(help="Where labels are: a column, a FILE.csv (file,label) or `folder`.")]
Root = Annotated[Path | None, typer.Option("--data-root", envvar="LEAVEN_DATA", help="Where named data sets lie.")]
Epochs = Annotated[float | None, typer.Option(help="How long: passes over the data.", min=0)]
Steps = Annotated[int | None, typer.Option(help="How long: optimiser steps.", min=1)]
Batch = Annotated[int | None, typer.Option(help="Samples a step, over all devices and micro-batches.", min=1)]
Size = Annotated[int | None, typer.Option(help="Side of training pictures in pixels.", min=1)]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Devices = Annotated[int, typer.Option(help="Processes (GPUs) to share each batch.", min=1)]
Accumulate = Annotated[int, typer.Option(help="Micro-batches a step, to save memory.", min=1)]
KeepGoing = Annotated[bool, typer.Option(help="Do not stop when a verdict says that going on is useless.")]
AcceptData = Annotated[bool, typer.Option(help="Go on although the data has changed since the run began.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.", autocompletion=completion.one_of("auto", "cpu", "cuda", "mps"))]
MethodName = Annotated[
    str, typer.Option(help="A name from `leaven methods`, or file.py:Class.", autocompletion=completion.one_of(found=completion.method_names))
]
EncoderName = Annotated[
    str,
    typer.Option(
        help="auto, a name from `leaven encoders`, or any timm model.", autocompletion=completion.one_of("auto", found=completion.encoder_names)
    ),
]
Precision = Annotated[str, typer.Option(help="auto, fp32, bf16 or fp64.", autocompletion=completion.one_of("auto", "fp32", "bf16", "fp64"))]
Track = Annotated[
    list[str] | None,
    typer.Option(help="Log to tensorboard or wandb as well. May be repeated.", autocompletion=completion.one_of("tensorboard", "wandb")),
]
Role = Annotated[str | None, typer.Option(help="Which encoder, where a run has several.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output; everything else goes to standard error.")]


def first_process() -> bool:
    """Whether this is the only process, or the first of several that share a training; the others are silent."""
    return int(os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_PROCID") or 0) == 0


def say(line: str) -> None:
    """A line for people."""
    if first_process():
        print(line, file=sys.stderr, flush=True)


def answer(as_json: bool, content: Any, text: str = "") -> None:
    """The result: JSON for programs, or text for people."""
    if first_process():
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
