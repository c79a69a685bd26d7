"""Every method by its name, found by being defined in the folder; and how one is built from its configuration."""

import dataclasses
import functools
import importlib
import inspect
import json
import pkgutil
import re
import types
import typing
from pathlib import Path
from typing import Any

from leaven import methods
from leaven.data.spec import DataSpec
from leaven.encoders import Encoder
from leaven.errors import UserError, unknown_name
from leaven.methods.aliases import ALIASES, PLANNED
from leaven.methods.method import Method, Recipe
from leaven.plugin import from_file
from leaven.views import Views


def methods_in(module: types.ModuleType) -> list[type[Method]]:
    """The methods that a module defines (not those that it imports)."""
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Method) and value is not Method and value.__module__ == module.__name__
    ]


@functools.cache
def registry() -> dict[str, type[Method]]:
    """Name (of the file) -> method, for every file in a family's folder."""
    found: dict[str, type[Method]] = {}
    for _, path, is_package in pkgutil.walk_packages(methods.__path__, "leaven.methods."):
        parts = path.split(".")
        if is_package or len(parts) != 4:
            continue
        for method in methods_in(importlib.import_module(path)):
            method.family, method.name = parts[2], parts[3]
            found[method.name] = method
    return dict(sorted(found.items()))


GIVEN: dict[str, type[Method]] = {}
"""Methods of the user's own that were given in this process, by the names that their runs keep."""


def find_method(name: str | type[Method]) -> type[Method]:
    """A method by its name, or a user's own as `path/to/file.py:Class` (which runs that file) or as the class itself."""
    if isinstance(name, type):
        if "name" not in vars(name):  # else a class derived from another method would go by its name
            name.name, name.family = f"{Path(inspect.getfile(name)).resolve()}:{name.__name__}", "own"
        if name.family == "own":
            GIVEN[name.name] = name
        return name
    if ".py:" in name:
        method = from_file(name, "--method takes a name or file.py:Class")
        path, _, wanted = name.rpartition(":")
        if not (isinstance(method, type) and issubclass(method, Method)):
            raise UserError(f"{wanted!r} is not a Method", where=path, hint="derive it from leaven.methods.Method")
        method.name, method.family = f"{Path(path).resolve()}:{wanted}", "own"
        GIVEN[method.name] = method
        return method
    return registry()[resolve(name)]


def resolve(name: str) -> str:
    """The name of one of Leaven's methods, from its name or one that the literature uses. Raises UserError for any other."""
    plain = name.lower().replace("-", "_")
    known = ALIASES.get(plain, plain)
    if known in registry():
        return known
    if known in PLANNED:
        raise UserError(f"{name} is not in this version of Leaven", hint="see `leaven methods`")
    raise unknown_name("method", name, [*registry(), *ALIASES], "leaven methods")


def known_method(name: str, where: object = None) -> type[Method]:
    """The method that a run names: one of Leaven's, or one that the user gave in this process. A file that a run names is never run.

    Raises UserError for any other.
    """
    if name not in GIVEN and name not in registry():
        own = name.rpartition(":")[2]
        hint = f"load it with leaven.load(RUN, method={own}), or method='path/to/file.py:{own}', if you trust that code" if ".py:" in name else None
        raise UserError(f"this run was made by a method that is not Leaven's own: {name}", where=where, hint=hint or "update leaven")
    return GIVEN.get(name) or registry()[name]


def given_arguments(method: type[Method]) -> list[str]:
    """What the method is built around: some of encoder, encoders, data."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [name for name, parameter in inspect.signature(method).parameters.items() if parameter.kind in positional]


def hyperparameters(method: type) -> dict[str, inspect.Parameter]:
    """The keyword-only arguments, which are the hyper-parameters of a method or an encoder."""
    return {name: parameter for name, parameter in inspect.signature(method).parameters.items() if parameter.kind is inspect.Parameter.KEYWORD_ONLY}


SETTING = re.compile(r"(?:(?<=\. )|^)(\w+(?:, \w+)*): ")
"""Where a docstring begins to say what a hyper-parameter is: `name: what it is.`, or `one, other: what both are.`"""


def explained(kind: type) -> tuple[list[str], dict[str, str]]:
    """The docstring of a method or an encoder as its paragraphs of prose, and what it says of each hyper-parameter."""
    prose: list[str] = []
    meanings: dict[str, str] = {}
    for paragraph in inspect.cleandoc(kind.__doc__ or "").split("\n\n"):
        before, *told = SETTING.split(" ".join(paragraph.split()))
        prose += [before.strip()] if before else []
        for names, meaning in zip(told[::2], told[1::2], strict=True):
            meanings |= dict.fromkeys(names.split(", "), meaning.strip().removesuffix("."))
    return prose, meanings


def convert(value: Any, kind: Any, where: str) -> Any:
    """A value (perhaps the text of a `--set`) as the type that a parameter is annotated with."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None or value == "none":
            return None
        return convert(value, next(option for option in inner if option is not type(None)), where)
    try:
        if kind is bool:
            return {"true": True, "false": False, "1": True, "0": False, True: True, False: False}[value.lower() if isinstance(value, str) else value]
        if origin is tuple:
            items = (
                (json.loads(value if value.strip().startswith("[") else f"[{value}]") if value.strip() else []) if isinstance(value, str) else value
            )
            items = items if isinstance(items, list | tuple) else [items]
            kinds = [inner[0]] * len(items) if inner[-1] is Ellipsis else inner
            if len(kinds) != len(items):
                raise ValueError
            return tuple(convert(item, each, where) for item, each in zip(items, kinds, strict=True))
        if kind in (int, float, str):
            if kind is int and isinstance(value, float) and not value.is_integer():
                raise ValueError
            return kind(value)
    except (KeyError, ValueError, TypeError, json.JSONDecodeError):
        wanted = getattr(kind, "__name__", str(kind)) if origin is None else str(kind)
        raise UserError(f"{where} takes a {wanted}, not {value!r}") from None
    return value


def replace_fields(part: Any, changes: dict[str, Any], where: str) -> Any:
    """A dataclass with some fields changed and converted to their types."""
    changes = {getattr(part, "aliases", {}).get(name, name): value for name, value in changes.items()}
    kinds = typing.get_type_hints(type(part))
    names = [field.name for field in dataclasses.fields(part)]
    for name in changes:
        if name not in names:
            raise UserError(f"{where} has no {name!r}", hint=f"it has {', '.join(names)}")
    return dataclasses.replace(part, **{name: convert(value, kinds[name], f"{where}.{name}") for name, value in changes.items()})


def build_method(
    method: type[Method], data: DataSpec, encoders: dict[str, Encoder] | None = None, settings: dict[str, Any] | None = None
) -> tuple[Method, Recipe]:
    """The method around its encoder, and its recipe, both with the user's settings.

    settings: hyper-parameters by name; dotted names reach into parts ("views.crop_min", "recipe.lr"); nested dicts do as well.
    The method's `config` holds every hyper-parameter afterwards, and building from it gives the same method.
    """
    known = hyperparameters(method)
    kinds = typing.get_type_hints(method.__init__)
    plain: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {"views": {}, "recipe": {}}
    for name, value in (settings or {}).items():
        part, _, rest = name.partition(".")
        if part in parts and (rest or isinstance(value, dict)):
            parts[part].update({rest: value} if rest else {key: each for key, each in value.items() if key != "kind"})
        elif name in known and name != "views":
            plain[name] = convert(value, kinds[name], name)
        else:
            options = [name for name in known if name != "views"] + [f"{part}.…" for part in parts]
            raise UserError(f"{method.name} has no setting {name!r}", hint=f"it has {', '.join(options)}")
    available: dict[str, Any] = {"data": data, "encoders": encoders, "encoder": next(iter(encoders.values())) if encoders else None}
    built = method(*(available[name] for name in given_arguments(method)), **plain)
    if parts["views"]:
        built.augment = replace_fields(built.augment, parts["views"], "views")
    built.config = {name: plain.get(name, parameter.default) for name, parameter in known.items() if name != "views"}
    if isinstance(getattr(built, "augment", None), Views):
        built.config["views"] = built.augment.to_dict()
    return built, replace_fields(method.recipe, parts["recipe"], "recipe")
