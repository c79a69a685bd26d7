"""How the public functions speak to a person, and how they read a length of time."""

import time
from collections.abc import Callable
from typing import Annotated, Any

from leaven.errors import UserError

Say = Annotated[Callable[[str], None], "Called with each line for people."]
Progress = Annotated[Callable[..., object], "Called with what is counted, how many are done, and of how many; a training adds its loss."]


LONGEST = 10 * 365 * 24 * 3600  # seconds
LAST, LAST_SHARE = 12.0, 0.15  # seconds, and share of a budget, that are kept for saving and for the report


_begun: list[float] = []


def command_begins() -> None:
    """A command has just been started: budgets count from now on."""
    _begun[:] = [time.monotonic()]


def begun() -> float:
    """time.monotonic() at which the command that runs began; in Python, now."""
    return _begun.pop() if _begun else time.monotonic()


def deadline(began: float, budget: float | None) -> float | None:
    """time.monotonic() at which the work of a command must end, so that all of it keeps a budget in seconds; None where there is none."""
    return None if budget is None else began + budget - min(LAST, LAST_SHARE * budget)


def quiet(*_: Any) -> None:
    """Say nothing."""


def seconds(budget: str | float | None) -> float | None:
    """Seconds from "90s", "10m", "2h" or a number. Raises UserError for anything else."""
    number = budget
    if isinstance(budget, str):
        units = {"s": 1, "m": 60, "h": 3600}
        text = budget.strip().lower()
        try:
            number = float(text[:-1]) * units[text[-1]] if text and text[-1] in units else float(text)
        except ValueError:
            raise UserError(f"a budget is a time like 90s, 10m or 2h, not {budget!r}") from None
    if number is None:
        return None
    if not 0 < number <= LONGEST:  # type: ignore[operator]
        raise UserError(f"a budget must be a positive time of at most 10 years, not {budget!r}")
    return float(number)
