"""Every method by its name, found by being defined in the folder; and how one is built from its configuration."""

import dataclasses
import functools
import importlib
import inspect
import pkgutil
import types
from pathlib import Path
from typing import Any

from leaven import methods
from leaven.data.spec import DataSpec
from leaven.encoders import Encoder
from leaven.errors import UserError, unknown_name
from leaven.hyperparameters import convert, hyperparameters, replace_fields, types_of
from leaven.methods.aliases import ALIASES, BUFFERS
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
    known: dict[str, type[Method]] = {}
    for _, path, is_package in pkgutil.walk_packages(methods.__path__, "leaven.methods."):
        parts = path.split(".")
        if is_package or len(parts) != 4:
            continue
        for method in methods_in(importlib.import_module(path)):
            method.family, method.name = parts[2], parts[3]
            known[method.name] = method
    return dict(sorted(known.items()))


OWN: dict[str, type[Method]] = {}
"""Methods of the user's own that this process has seen, by the names that their runs keep."""


def find_method(name: str | type[Method]) -> type[Method]:
    """A method by its name, or a user's own as `path/to/file.py:Class` (which runs that file) or as the class itself."""
    if isinstance(name, str) and ".py:" not in name:
        return registry()[resolve(name)]
    method = from_file(name, "--method takes a name or file.py:Class") if isinstance(name, str) else name
    if not (isinstance(method, type) and issubclass(method, Method)):
        path, _, wanted = str(name).rpartition(":")
        raise UserError(f"{wanted!r} is not a Method", where=path, hint="derive it from leaven.methods.Method")
    if "name" not in vars(method):  # else a class derived from another method would go by its name
        method.name, method.family = f"{Path(inspect.getfile(method)).resolve()}:{method.__name__}", "own"
    if method.family == "own":
        OWN[method.name] = method
    return method


def resolve(name: str) -> str:
    """The name of one of Leaven's methods, from its name or one that the literature uses. Raises UserError for any other."""
    plain = name.lower().replace("-", "_")
    known = ALIASES.get(plain, plain)
    if known in registry():
        return known
    if known in BUFFERS:
        raise UserError(f"{name} is no method but a buffer, for samples that come in their order", hint=f"choose a method, and --stream {known}")
    raise unknown_name("method", name, [*registry(), *ALIASES], "leaven methods")


def known_method(name: str, where: object = None) -> type[Method]:
    """The method that a run names: one of Leaven's, or one that the user gave in this process. A file that a run names is never run.

    Raises UserError for any other.
    """
    if name not in OWN and name not in registry():
        own = name.rpartition(":")[2]
        hint = f"load it with leaven.load(RUN, method={own}), or method='path/to/file.py:{own}', if you trust that code" if ".py:" in name else None
        raise UserError(f"this run was made by a method that is not Leaven's own: {name}", where=where, hint=hint or "update leaven")
    return OWN.get(name) or registry()[name]


def provided_arguments(method: type[Method]) -> list[str]:
    """What the method is built around: some of encoder, encoders, data."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [name for name, parameter in inspect.signature(method).parameters.items() if parameter.kind in positional]


def build_method(
    method: type[Method], data: DataSpec, encoders: dict[str, Encoder] | None = None, settings: dict[str, Any] | None = None
) -> tuple[Method, Recipe]:
    """The method around its encoder, and its recipe, both with the user's settings.

    settings: hyper-parameters by name; dotted names reach into parts ("views.crop_min", "recipe.lr"); nested dicts do as well.
    The method's `config` holds every hyper-parameter afterwards, and building from it gives the same method.
    """
    known, kinds = hyperparameters(method), types_of(method)
    plain: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {"views": {}, "recipe": {}}
    for name, value in (settings or {}).items():
        part, _, rest = name.partition(".")
        if part in parts and (rest or isinstance(value, dict)):
            parts[part].update({rest: value} if rest else {field: changed for field, changed in value.items() if field != "kind"})
        elif name in known:
            plain[name] = convert(value, kinds[name], name)
        else:
            raise UserError(f"{method.name} has no setting {name!r}", hint=f"it has {', '.join([*known, *(f'{part}.…' for part in parts)])}")
    available: dict[str, Any] = {"data": data, "encoders": encoders, "encoder": next(iter(encoders.values())) if encoders else None}
    built = method(*(available[name] for name in provided_arguments(method)), **plain)
    if parts["views"]:
        built.augment = changed_views(built.augment, parts["views"])
    built.config = {name: plain.get(name, parameter.default) for name, parameter in known.items()}
    augment = getattr(built, "augment", None)
    if isinstance(augment, Views):
        built.config["views"] = augment.to_dict()
    elif augment is not None:
        built.config["views"] = {role: views.to_dict() for role, views in augment.items()}
    return built, replace_fields(method.recipe, parts["recipe"], "recipe")


def changed_views(augment: Views | dict[str, Views], changes: dict[str, Any]) -> Any:
    """Views, or several by name, with the user's settings: of all that have the field, or of one as "NAME.FIELD" or in a dict."""
    if isinstance(augment, Views):
        return replace_fields(augment, changes, "views")
    by_role: dict[str, dict[str, Any]] = {role: {} for role in augment}
    for name, value in changes.items():
        role, _, field = name.partition(".")
        having = [other for other, views in augment.items() if role in {known.name for known in dataclasses.fields(views)}]
        if role in by_role:
            by_role[role].update({field: value} if field else {inner: changed for inner, changed in value.items() if inner != "kind"})
        elif not having or field:
            raise UserError(
                f"no views are called {role!r}, or have it", where=f"views.{name}", hint=f"choose one, as in views.{next(iter(by_role))}.NAME"
            )
        for other in having:
            by_role[other].setdefault(role, value)
    return {role: replace_fields(views, by_role[role], f"views.{role}") for role, views in augment.items()}
