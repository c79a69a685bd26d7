"""Hyper-parameters: keyword arguments with their ranges, what docstrings say of them, and values from a user as their types."""

import dataclasses
import inspect
import json
import math
import re
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal

from leaven.errors import UserError


@dataclasses.dataclass(frozen=True)
class Range:
    """Which numbers a hyper-parameter can be, in words, and whether a number is one of them."""

    words: str
    holds: Callable[[float], bool]


Whole = Annotated[int, Range("0 or more", lambda number: number >= 0)]
Count = Annotated[int, Range("1 or more", lambda number: number >= 1)]
TwoOrMore = Annotated[int, Range("2 or more", lambda number: number >= 2)]
Width = Annotated[int, Range("from 1 to 65,536", lambda number: 1 <= number <= 2**16)]
Depth = Annotated[int, Range("from 1 to 1,000", lambda number: 1 <= number <= 1000)]
Positive = Annotated[float, Range("above 0", lambda number: 0 < number < math.inf)]
NonNegative = Annotated[float, Range("0 or more", lambda number: 0 <= number < math.inf)]
Share = Annotated[float, Range("from 0 to 1", lambda number: 0 <= number <= 1)]
PartialShare = Annotated[float, Range("above 0 and below 1", lambda number: 0 < number < 1)]
PositiveShare = Annotated[float, Range("above 0 and up to 1", lambda number: 0 < number <= 1)]
Seed = Annotated[int, Range("from 0 to 4,294,967,295", lambda number: 0 <= number < 2**32)]
Side = Annotated[int, Range("from 1 to 10,000", lambda number: 1 <= number <= 10_000)]
ShareBelowOne = Annotated[float, Range("from 0 to below 1", lambda number: 0 <= number < 1)]


def initializers(kind: type) -> list[Callable[..., None]]:
    """The `__init__` of a class, after those of the parents to which it hands further keyword arguments on by `**`."""
    functions: list[Callable[..., None]] = []
    for part in inspect.getmro(kind):
        if "__init__" in vars(part):
            functions.insert(0, vars(part)["__init__"])
            if all(parameter.kind is not inspect.Parameter.VAR_KEYWORD for parameter in inspect.signature(functions[0]).parameters.values()):
                break
    return functions


def hyperparameters(kind: type) -> dict[str, inspect.Parameter]:
    """The keyword-only arguments, which are the hyper-parameters of a method or an encoder. `views` is none, in a method that takes it."""
    parameters = {name: parameter for function in initializers(kind) for name, parameter in inspect.signature(function).parameters.items()}
    others = ("views", *getattr(kind, "without", ()))
    return {name: parameter for name, parameter in parameters.items() if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name not in others}


def types_of(kind: type) -> dict[str, Any]:
    """What hyper-parameters are annotated with, ranges included."""
    return {name: hint for function in initializers(kind) for name, hint in typing.get_type_hints(function, include_extras=True).items()}


SETTING = re.compile(r"(?:(?<=\. )|^)(\w+(?:, \w+)*): ")
"""Where a docstring begins to say what a hyper-parameter is: `name: what it is.`, or `one, other: what both are.`"""


def explained(kind: type) -> tuple[list[str], dict[str, str]]:
    """The docstring of a method or an encoder as its paragraphs of prose, and what it, or that of a parent, says of each hyper-parameter."""
    prose: list[str] = []
    meanings: dict[str, str] = {}
    for paragraph in inspect.cleandoc(kind.__doc__ or "").split("\n\n"):
        before, *settings = SETTING.split(" ".join(paragraph.split()))
        prose += [before.strip()] if before else []
        for names, meaning in zip(settings[::2], settings[1::2], strict=True):
            meanings |= dict.fromkeys(names.split(", "), meaning.strip().removesuffix("."))
    known = hyperparameters(kind)
    inherited = {name: meaning for parent in kind.__bases__ for name, meaning in explained(parent)[1].items() if name in known}
    return prose, inherited | meanings


NOUNS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def convert(value: Any, kind: Any, where: str) -> Any:
    """A value (perhaps the text of a `--set`) as the type that a parameter is annotated with. UserError where it is none, or out of its range."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        number = convert(value, inner[0], where)
        for condition in inner[1:]:
            if isinstance(condition, Range) and not condition.holds(number):
                raise UserError(f"{where} must be {condition.words}, not {value}")
        return number
    if origin is Literal:
        if value not in inner:
            raise UserError(f"{where} cannot be {value!r}", hint=f"choose {', '.join(inner[:-1])} or {inner[-1]}")
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None or value == "none":
            return None
        return convert(value, next(option for option in inner if option is not type(None)), where)
    try:
        if kind is bool:
            return {"true": True, "false": False, "1": True, "0": False, True: True, False: False}[value.lower() if isinstance(value, str) else value]
        if origin is tuple:
            if isinstance(value, str):
                value = json.loads(value if value.strip().startswith("[") else f"[{value}]")
            items = value if isinstance(value, list | tuple) else [value]
            kinds = [inner[0]] * len(items) if inner[-1] is Ellipsis else inner
            return tuple(convert(item, kind, where) for item, kind in zip(items, kinds, strict=True))
        if kind in (int, float, str):
            if kind is int and isinstance(value, float) and not value.is_integer():
                raise ValueError
            return kind(value)
    except (KeyError, ValueError, TypeError):
        length = "" if inner[-1:] in ((), (Ellipsis,)) else f" of {len(inner)} values"
        raise UserError(f"{where} takes {'a list' if origin is tuple else NOUNS[kind]}{length}, not {value!r}") from None
    return value


def replace_fields(part: Any, changes: dict[str, Any], where: str) -> Any:
    """A dataclass with some fields changed and converted to their types."""
    changes = {getattr(part, "aliases", {}).get(name, name): value for name, value in changes.items()}
    kinds = typing.get_type_hints(type(part), include_extras=True)
    names = [field.name for field in dataclasses.fields(part)]
    for name in changes:
        if name not in names:
            raise UserError(f"{where} has no {name!r}", hint=f"it has {', '.join(names)}")
    return dataclasses.replace(part, **{name: convert(value, kinds[name], f"{where}.{name}") for name, value in changes.items()})
