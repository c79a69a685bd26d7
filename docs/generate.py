"""Writes the pages of docs/reference/ from the code: `python docs/generate.py`, before `zensical build --strict`."""

from __future__ import annotations

import dataclasses
import inspect
import json
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer

import leaven
from leaven.cli import app
from leaven.cli.app import PANELS
from leaven.encoders import OWN
from leaven.evaluation.registry import registry as protocol_registry
from leaven.hyperparameters import explained, hyperparameters, initializers
from leaven.methods.method import Recipe
from leaven.methods.registry import registry
from leaven.methods.support import makes_views, modalities_of_paper
from leaven.modalities import MODALITIES, find_modality
from leaven.views import default_views
from leaven.views.views import KINDS

REFERENCE = Path(__file__).parent / "reference"
VALUES = {str: "TEXT", Path: "PATH", int: "N", float: "N"}
SETTINGS = ["setting", "type", "default"]
EXPLAINED = ["setting", "what it is", "type", "default"]

COMMANDS = """\
# Commands

Every command has a [Python](python.md) function of the same name (`methods`, `encoders`, `protocols` and `claims`: `list_methods` and
so on). With `--json`, one object is the only thing on standard output, and everything for people goes to standard error. The exit status is 0 when
the command is done; 2 when the input is wrong (one line says what, where, and what to do); 3 when training stopped itself, with the reason; and 130
after an interruption: the same command then continues.
"""

METHODS = """\
# Methods

You change a setting with `--set name=value`, in Python with `settings={"name": value}`. Settings of the [recipe](#recipes) and of the [views](#views)
start with `recipe.` and `views.`; each method below lists where its own differ. [Choosing a method](../choosing-a-method.md) helps you to choose.
"""

ENCODERS = """\
# Encoders

`--encoder NAME` chooses an encoder, `--set encoder.name=value` sets its arguments. With several inputs, name one encoder per role:
`--encoder image=convnet,text=transformer`, `--set encoder.text.depth=2` ([several inputs](../several-inputs.md)). Every encoder takes raw input
(pixels of 0-255 or 0-1) and contains its own normalisation, so you cannot feed it on the wrong scale. You can also name any picture model of
[timm](https://github.com/huggingface/pytorch-image-models): `--encoder resnet18`, `--encoder vit_small_patch16_224`. To start from
published weights, name a [trained model](../choosing-a-method.md#public-models): `--encoder timm:resnet18`, `--encoder hf:OWNER/NAME`.
"""

AUTOMATIC = """
## What auto chooses

`auto` takes the first line that fits. `config.json` keeps the choice and its reason.
"""

KINDS_OF_DATA = """\
# Kinds of data

Leaven calls a kind of data a *modality*. Each has a default method, default encoders and default views, so that DATA alone is enough to train. One
modality is one file: [adding a modality](../add-a-modality.md).
"""

PROTOCOLS = """\
# Protocols

`leaven evaluate RUN DATA --protocol NAME,...` scores a run by these protocols. Without `--protocol`, Leaven takes those that suit the run and the
data. You change an option with `--set NAME.OPTION=VALUE`, in Python with `settings={"NAME.OPTION": value}`. Every score stands beside its floors. One
protocol is one file: [adding a protocol](../add-a-protocol.md).
"""

PYTHON = """\
# Python

`import leaven` is quick: the first call loads torch. Where a function takes `say` and `progress`, it calls `say` with lines for people, and
`progress` with what it counts, how many are done, how many there are, and the loss of a training.
"""

RESULTS = {
    "leaven.Run": ["open", "config", "metrics", "finished", "health"],
    "leaven.evaluation.scorecard.Scorecard": ["sentence", "text", "to_dict"],
    "leaven.evaluation.comparison.Comparison": ["text", "scores", "floors", "gains", "costs", "to_dict"],
    "leaven.evaluation.predictions.Predictions": ["labels", "counts", "probability", "margin", "uncertain_first", "write"],
    "leaven.inspection.inspection.Inspection": ["to_dict"],
    "leaven.vectors.Vectors": None,
    "leaven.exporters.target.Exported": ["to_dict"],
    "leaven.sklearn.EncoderTransformer": ["fit", "transform", "get_feature_names_out"],
    "leaven.UserError": ["to_dict"],
    "leaven.errors.TrainingStopped": [],
    "leaven.errors.Interrupted": [],
}


def main(folder: Path = REFERENCE) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    writers = (commands, methods, encoders, modalities, protocols, python)
    return {writer.__name__: "\n".join(writer()) + "\n" for writer in writers}


# --- commands ---


def commands() -> Iterator[str]:
    group: Any = typer.main.get_command(app)
    context = group.make_context("leaven", [], resilient_parsing=True)
    by_name = {name: group.get_command(context, name) for name in group.list_commands(context)}
    yield COMMANDS
    yield from table(["command", "what it does"], ([f"[`leaven {name}`](#leaven-{name})", command.help] for name, command in by_name.items()))
    for name, command in by_name.items():
        arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
        options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
        required = [f"{option.opts[0]} {value_of(option)}" for option in options if option.required]
        usage = " ".join(["leaven", name, *(argument.name.upper() for argument in arguments), *required, "[OPTIONS]"])
        yield from ["", f"## leaven {name}", "", command.help, "", "```text", usage, "```", ""]
        rows = [[f"`{argument.name.upper()}`", argument.help] for argument in arguments]
        yield from table(["option", "what it does"], rows + [[flags(option), meaning(option)] for option in options])


def value_of(option: Any) -> str:
    kind = option.type_descriptor.annotation
    return VALUES.get(typing.get_args(kind)[0] if typing.get_origin(kind) is list else kind, "")


def flags(option: Any) -> str:
    """How to write an option; for a switch that is off by default, only how to switch it on."""
    both = [*option.opts, *(option.secondary_opts if option.default is not False else [])]
    return f"`{' / '.join(both)}{'' if option.is_flag else f' {value_of(option)}'}`"


def meaning(option: Any) -> str:
    default = "" if option.is_flag or option.default is None else f" Default: `{option.default}`."
    variable = f" Also `{option.envvar}` in the environment." if option.envvar else ""
    return f"{option.help}{default}{variable}"


# --- methods ---


def methods() -> Iterator[str]:
    kinds = registry()
    yield METHODS
    yield from table(["method", "idea"], ([f"[`{name}`](#{name})", document(kind)[0]] for name, kind in kinds.items()))
    for family in sorted({kind.family for kind in kinds.values()}):
        yield from ["", f"## {family.replace('_', ' ').capitalize()}"]
        for name, kind in kinds.items():
            if kind.family == family:
                yield from ["", f"### {name}", "", *method(kind)]
    yield from ["", "## Recipes", "", *document(Recipe), "", *fields(Recipe, "recipe.")]
    yield from ["", "## Views"]
    for name, views in KINDS.items():
        yield from ["", f"### Views of {name}", "", *document(views), "", *fields(views, "views.")]


def method(kind: Any) -> Iterator[str]:
    needs = "" if kind.wants == "features" else f" Needs an encoder with {kind.wants}."
    labels = " Needs labels." if kind.pools else ""
    yield from [line for paragraph in explained(kind)[0] for line in (paragraph, "")]
    yield from [f"Source: *{kind.paper}*, {kind.year}. For {samples_of(modalities_of_paper(kind))}.{needs}{labels}", ""]
    if kind.guards:
        yield from [f"What keeps it from collapsing: {', '.join(f'{what} (`{name}`)' for name, what in kind.guards.items())}.", ""]
    yield from settings(kind)
    yield from ["", f"Recipe: {differing(kind.recipe, Recipe(), always=('optimizer', 'lr', 'batch', 'weight_decay'))}"]
    if makes_views(kind):
        views = default_views(kind.purpose, (*modalities_of_paper(kind), "pixels")[0])
        yield from ["", f"Views of {views.kind}: {differing(views, type(views)()) or 'as they are below'}"]


def settings(kind: Any, prefix: str = "") -> Iterator[str]:
    """A table of the settings of a method or an encoder."""
    kinds = {name: hint for function in initializers(kind) for name, hint in typing.get_type_hints(function).items()}
    _, meanings = explained(kind)
    known = {name: parameter.default for name, parameter in hyperparameters(kind).items()}
    rows = ([f"`{prefix}{name}`", meanings.get(name, ""), code(kinds[name]), as_json(default)] for name, default in known.items())
    return table(EXPLAINED, rows) if known else iter(())


def differing(part: Any, plain: Any, always: tuple[str, ...] = ()) -> str:
    """The fields that differ from the defaults, as `--set` writes them."""
    values = {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
    different = {name: value for name, value in values.items() if name in always or value != getattr(plain, name)}
    return ", ".join(f"`{name}={json.dumps(value)}`" for name, value in different.items())


def fields(kind: Any, prefix: str) -> Iterator[str]:
    kinds = typing.get_type_hints(kind)
    return table(SETTINGS, ([f"`{prefix}{field.name}`", code(kinds[field.name]), as_json(field.default)] for field in dataclasses.fields(kind)))


# --- encoders ---


def encoders() -> Iterator[str]:
    yield ENCODERS
    reads = {name: samples_of(kind.modalities) for name, kind in OWN.items()}
    yield from table(["encoder", "reads", "offers"], ([f"[`{name}`](#{name})", reads[name], ", ".join(kind.offers)] for name, kind in OWN.items()))
    for name, kind in OWN.items():
        yield from ["", f"## {name}", "", *(line for paragraph in explained(kind)[0] for line in (paragraph, ""))]
        yield from settings(kind, "encoder.")
    yield AUTOMATIC
    rows = (
        [
            samples_of((name,)),
            wanted(line.wants),
            line.device,
            f"up to {line.largest}" if line.largest < 10_000 else "any",
            f"`{line.name}`",
            line.reason,
        ]
        for name, modality in MODALITIES.items()
        for line in modality.encoders
    )
    yield from table(["data", "the method needs", "device", "pixels per side", "encoder", "why"], rows)


# --- modalities ---


def modalities() -> Iterator[str]:
    yield KINDS_OF_DATA
    trainable = {name: modality for name, modality in MODALITIES.items() if modality.encoders}
    rows = (
        [
            f"`{name}`",
            " ".join(document(type(modality))).partition(". ")[0].removesuffix("."),
            f"[`{modality.method[0]}`](methods.md#{modality.method[0]}): {modality.method[1]}",
            ", ".join(f"[`{encoder}`](encoders.md#{encoder})" for encoder, kind in OWN.items() if name in kind.modalities),
        ]
        for name, modality in trainable.items()
    )
    yield from table(["modality", "what it is", "default method", "encoders"], rows)
    if others := [f"`{name}`" for name in MODALITIES if name not in trainable]:
        yield from ["", f"These are kinds of data or targets without an encoder of their own: {', '.join(others)}."]


# --- Python ---


def python() -> Iterator[str]:
    public = [name for name in leaven.__all__ if name[0].islower()]
    order = [name for names in PANELS.values() for name in names if name in public]
    yield from [PYTHON, "## Functions"]
    for name in (*order, *sorted(set(public) - set(order))):
        yield from ["", f"::: leaven.{name}"]
    yield from ["", "::: leaven.data.open_data", "", "## Classes"]
    for name, members in RESULTS.items():
        yield from ["", f"::: {name}"]
        if members is not None:
            yield from ["    options:", f"      members:{'' if members else ' []'}", *(f"        - {member}" for member in members)]


# --- protocols ---


def protocols() -> Iterator[str]:
    kinds = protocol_registry()
    yield PROTOCOLS
    rows = ([f"[`{name}`](#{name})", explained(kind)[0][0], kind.needs, "yes" if kind.frozen else ""] for name, kind in kinds.items())
    yield from table(["protocol", "what it measures", "needs", "in `compare`"], rows)
    for name, kind in kinds.items():
        prose, meanings = explained(kind)
        floors = f"Floors: {', '.join(floor.title for floor in kind.floors)}."
        yield from ["", f"## {name}", "", *(line for paragraph in (*prose, *([floors] if kind.floors else [])) for line in (paragraph, ""))]
        types, options = typing.get_type_hints(kind), dataclasses.fields(kind)
        rows = ([f"`{name}.{field.name}`", meanings.get(field.name, ""), code(types[field.name]), as_json(field.default)] for field in options)
        yield from table(EXPLAINED, rows) if options else ()


# --- parts of a page ---


def samples_of(modalities: tuple[str, ...]) -> str:
    """What people call the samples of these modalities (none: of any)."""
    *others, last = [find_modality(modality).plural for modality in modalities] or ["any kind of data"]
    return f"{', '.join(others)} and {last}" if others else last


def wanted(wants: str | tuple[str, ...]) -> str:
    return wants if isinstance(wants, str) else " or ".join(wants)


def table(head: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def document(kind: Any) -> list[str]:
    return inspect.cleandoc(kind.__doc__ or "").splitlines()


def code(kind: Any) -> str:
    return f"`{inspect.formatannotation(kind)}`"


def as_json(value: Any) -> str:
    return f"`{json.dumps(value)}`"


if __name__ == "__main__":
    main()
