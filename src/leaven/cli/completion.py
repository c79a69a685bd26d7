"""What a shell offers for a value; names are read from files, without loading torch."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import leaven
from leaven.api.options import Option, names_of
from leaven.exporters import target_names

HOME = Path(leaven.__file__).parent
ENCODER_NAME = re.compile(r'^    name = "(\w+)"', re.MULTILINE)


def files(pattern: str) -> list[str]:
    """The names of modules: one file is one method, one protocol or one claim."""
    return [path.stem for path in HOME.glob(pattern) if path.stem != "__init__"]


def method_names() -> list[str]:
    return sorted(files("methods/*/*.py"))


def encoder_names() -> list[str]:
    """What the encoders' files call themselves."""
    return sorted(name for path in (HOME / "encoders").glob("*.py") for name in ENCODER_NAME.findall(path.read_text(encoding="utf-8")))


def protocol_names() -> list[str]:
    return sorted(name.replace("_", "-") for name in files("evaluation/protocols/*.py"))


def claim_names() -> list[str]:
    return sorted(name.replace("_", "-") for name in files("experiments/claims/*.py"))


def data_names() -> list[str]:
    """Named data: the demo's, and the folders under LEAVEN_DATA. The shell itself completes files."""
    root = os.environ.get("LEAVEN_DATA")
    folders = sorted(path.name for path in Path(root).iterdir() if path.is_dir()) if root and Path(root).is_dir() else []
    return ["demo:digits", "demo:shapes", *folders]


def one_of(*names: str, more: Callable[[], Iterable[str]] = tuple) -> Callable[[str], list[str]]:
    """A completion among these names, and those that `more` lists at that moment."""
    return lambda incomplete: [name for name in (*names, *more()) if name.startswith(incomplete)]


def some_of(*names: str, more: Callable[[], Iterable[str]] = tuple) -> Callable[[str], list[str]]:
    """A completion of the last of several names with commas between them."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [before + comma + name for name in one_of(*names, more=more)(last) if name not in before.split(",")]

    return complete


def data(incomplete: str) -> list[str]:
    """Names once something is typed; before that the shell offers files."""
    return one_of(more=data_names)(incomplete) if incomplete else []


LISTS: dict[str | None, Callable[[], Iterable[str]]] = {
    None: tuple,
    "methods": method_names,
    "encoders": encoder_names,
    "claims": claim_names,
    "protocols": protocol_names,
    "targets": target_names,
}
"""What `Option.names` may be, beside "data"."""


def of(option: Option) -> Callable[[str], list[str]] | None:
    """The completion of an option; None where the shell offers files."""
    if option.names == "data":
        return data
    if not option.values and option.names is None:
        return None
    return (some_of if option.read is names_of else one_of)(*option.values, more=LISTS[option.names])
