"""What a shell may offer for a value: found by looking at files, without loading torch."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import leaven

HOME = Path(leaven.__file__).parent
ENCODER_NAME = re.compile(r'^    name = "(\w+)"', re.MULTILINE)
DEMOS = ("demo:digits",)


def method_names() -> list[str]:
    """The files of the families' folders: one file is one method."""
    return sorted(path.stem for path in (HOME / "methods").glob("*/*.py") if path.stem != "__init__")


def encoder_names() -> list[str]:
    """What the encoders' files call themselves."""
    return sorted(name for path in (HOME / "encoders").glob("*.py") for name in ENCODER_NAME.findall(path.read_text(encoding="utf-8")))


def protocol_names(*, frozen: bool = False) -> list[str]:
    """The files of the protocols' folder; frozen: those that only need features and labels."""
    files = sorted((HOME / "evaluation" / "protocols").glob("*.py"))
    chosen = [path for path in files if path.stem != "__init__" and (not frozen or "(FrozenProtocol)" in path.read_text(encoding="utf-8"))]
    return [path.stem.replace("_", "-") for path in chosen]


def claim_names() -> list[str]:
    """The files of the claims' folder: one file is one claim."""
    return sorted(path.stem.replace("_", "-") for path in (HOME / "experiments" / "claims").glob("*.py") if path.stem != "__init__")


def data_names() -> list[str]:
    """Data that is called by name: the demo's, and the folders under LEAVEN_DATA. Files are completed by the shell itself."""
    root = os.environ.get("LEAVEN_DATA")
    folders = sorted(path.name for path in Path(root).iterdir() if path.is_dir()) if root and Path(root).is_dir() else []
    return [*DEMOS, *folders]


def one_of(*names: str, found: Callable[[], Iterable[str]] = tuple) -> Callable[[str], list[str]]:
    """A completion among these names, and those that are found when they are asked for."""
    return lambda incomplete: [name for name in (*names, *found()) if name.startswith(incomplete)]


def some_of(*names: str, found: Callable[[], Iterable[str]] = tuple) -> Callable[[str], list[str]]:
    """A completion of the last of several names with commas between them."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [before + comma + name for name in one_of(*names, found=found)(last) if name not in before.split(",")]

    return complete


def data(incomplete: str) -> list[str]:
    """Names once something is typed; before that the shell offers files."""
    return one_of(found=data_names)(incomplete) if incomplete else []
