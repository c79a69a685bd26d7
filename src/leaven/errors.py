"""Wrong input, in one line that helps; and how a training may stop itself."""

import difflib
import re
from collections.abc import Iterable
from importlib.metadata import requires
from tokenize import TokenError

DAMAGED_ARRAY = (OSError, ValueError, LookupError, EOFError, OverflowError, TokenError)
"""What `numpy.load` raises for damaged files."""


class UserError(Exception):
    """The user's input is wrong: what, where, and what to do. The command line prints it and exits with status 2."""

    def __init__(self, what: str, *, where: object = None, hint: str | None = None):
        self.what, self.where, self.hint = " ".join(what.split("\n")).strip(), None if where is None else str(where), hint
        super().__init__(str(self))

    def __str__(self) -> str:
        where = f" ({self.where})" if self.where else ""
        hint = f": {self.hint}" if self.hint else ""
        return " ".join(f"{self.what}{where}{hint}".splitlines())

    def to_dict(self) -> dict[str, str | None]:
        return {"what": self.what, "where": self.where, "hint": self.hint}


def unknown_name(kind: str, name: str, known: Iterable[str], see: str) -> UserError:
    """That nothing of a kind has this name; the hint is a similar name, else where to look."""
    close = difflib.get_close_matches(name, list(known), 3)
    return UserError(f"no {kind} is named {name!r}", hint=f"did you mean {' or '.join(close)}?" if close else f"see `{see}`")


def not_installed(module: str) -> UserError | None:
    """That a package of one of Leaven's extras is missing; None where the module belongs to none of them."""
    package = module.split(".")[0]
    for line in requires("leaven") or []:
        if (extra := re.match(rf"{package}\b.*extra == ['\"](\w+)", line)) is not None:
            return UserError(f"the package {package} is not installed", hint=f"pip install 'leaven[{extra[1]}]'")
    return None


class TrainingStopped(Exception):
    """Training ended itself because going on is useless; the last good checkpoint is kept. Exit status 3."""

    def __init__(self, verdict: str, why: str, *, step: int):
        self.verdict, self.why, self.step = verdict, why, step
        super().__init__(f"{verdict} at step {step}: {why}")


class Interrupted(Exception):
    """The user or the system interrupted the training; a checkpoint is written and the run can go on. Exit status 130."""


def out_of_memory(error: BaseException) -> bool:
    """Whether a device or the system ran out of memory."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return bool(kinds & {"MemoryError", "OutOfMemoryError"}) or "DefaultCPUAllocator: can't allocate memory" in str(error)
