"""A command from a public function: its flags are the function's options, and `cli/NAME.py` says what is printed."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace, UnionType
from typing import Annotated, Any, ForwardRef, Union, get_args, get_origin

import typer

import leaven
from leaven.api import options
from leaven.api.options import Option, option_of
from leaven.cli import completion
from leaven.cli.app import PANELS, AsJson, answer, app, quiet_output
from leaven.cli.watch import Watch

Show = Callable[[Any, SimpleNamespace], tuple[Any, str]]
"""From what the public function returns and the options as they were given, to the JSON for programs and the text for people."""

KINDS = (str, int, float, bool, Path)


def command(show: Show) -> Show:
    """Add the command that is named like this function: it calls the public function of that name and prints what `show` makes of its result."""
    function = declared(show.__name__)
    known: dict[str, Option] = {}
    parameters, talk = [], []
    for name, parameter in inspect.signature(function).parameters.items():
        kind, option, _ = option_of(parameter.annotation, function.__globals__)
        if option is not None:
            known[name] = option
            parameters.append(shell_parameter(name, kind, option, parameter.default))
        elif name in ("say", "progress"):
            talk.append(name)
    parameters.append(inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=AsJson))

    def run(as_json: bool, **texts: Any) -> None:
        values = {name: text if text is None else read(text, name, known[name]) for name, text in texts.items()}
        with quiet_output(), Watch() as watch:
            voice = {"say": watch.say, "progress": watch}
            chosen = {name: value for name, value in values.items() if value is not None}
            result = getattr(leaven, function.__name__)(**chosen, **{name: voice[name] for name in talk})
        answer(as_json, *show(result, SimpleNamespace(**values)))

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    panel = next(panel for panel, names in PANELS.items() if show.__name__ in names)
    app.command(show.__name__, help=(inspect.getdoc(function) or "").partition("\n")[0], rich_help_panel=panel)(run)
    return show


def declared(name: str) -> Any:
    """A public function without its body. It is read from its source, because importing it would load torch."""
    source = Path(options.__file__).with_name(f"{name}.py")
    functions = [node for node in ast.parse(source.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)]
    (node,) = (node for node in functions if node.name in (name, f"list_{name}"))
    node.body, node.decorator_list = node.body[:1], []  # its docstring is all that is kept
    names = {**vars(options), "options": options}
    exec(compile(ast.Module([node], []), source, "exec"), names)
    return names[node.name]


def shell_parameter(name: str, kind: Any, option: Option, default: Any) -> inspect.Parameter:
    """A parameter as typer reads it. Its default is only shown: without the flag, the function's own default holds."""
    first = get_args(kind)[0] if get_origin(kind) in (Union, UnionType) else kind
    if isinstance(first, ForwardRef):  # a union with a class that only Python can give
        first = {"Path": Path}.get(first.__forward_arg__.partition(" | ")[0], str)
    kind = first if first in KINDS and option.read is None else str
    if option.required or default is inspect.Parameter.empty:
        default = inspect.Parameter.empty
    elif not isinstance(default, KINDS):
        default = ",".join(map(str, default)) if default and not option.many else None
    kind = list[kind] if option.many else kind  # type: ignore[valid-type]
    if option.argument:
        note: Any = typer.Argument(help=option.help, autocompletion=completion.of(option))
    else:
        limits = {"min": option.least, "max": option.most}
        note = typer.Option(*option.flags, help=option.help, **limits, envvar=option.environment, autocompletion=completion.of(option))  # type: ignore[arg-type]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind if default is not None else kind | None, note]
    )


def read(text: Any, name: str, option: Option) -> Any:
    flag = option.flags[0] if option.flags else f"--{name.replace('_', '-')}"
    return text if option.read is None else option.read(text, flag)
