"""Ways out: forms that other programs read. One file = one target, listed by being in the folder."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from leaven.errors import UserError

if TYPE_CHECKING:
    from leaven.exporters.target import Target


def target_names() -> list[str]:
    """The names of the targets, which are those of their files; nothing heavy is imported."""
    return sorted(name.replace("_", "-") for _, name, _ in pkgutil.iter_modules(__path__) if name != "target")


def find_target(name: str, settings: Mapping[str, Any] | None = None) -> Target:
    """The target of a name, with its settings (values may be texts of a `--set`). Raises UserError where either is unknown."""
    if name not in target_names():
        close = difflib.get_close_matches(name, target_names(), 1)
        raise UserError(f"cannot export to {name!r}", hint=f"did you mean {close[0]}?" if close else f"choose {', '.join(target_names())}")
    from leaven.exporters.target import Target
    from leaven.hyperparameters import convert, hyperparameters

    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    kind = next(kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Target) and kind is not Target)
    known = hyperparameters(kind)
    for setting in settings or {}:
        if setting not in known:
            raise UserError(f"{name} has no setting {setting!r}", hint=f"it has {', '.join(known)}" if known else "it has none")
    return kind(**{key: convert(value, type(known[key].default), key) for key, value in (settings or {}).items()})
