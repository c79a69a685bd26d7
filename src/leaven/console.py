"""How the functions of Leaven hear of lengths, and speak of what they do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from leaven.errors import UserError

Say = Callable[[str], None]
Progress = Callable[..., object]
"""Called as progress(what is counted, how many are done, of how many); a training adds its loss."""


def quiet(*_: Any) -> None:
    """Say nothing."""


def seconds(budget: str | float | None) -> float | None:
    """Seconds from "90s", "10m", "2h" or a number."""
    if budget is None or isinstance(budget, int | float):
        number = budget
    else:
        units = {"s": 1, "m": 60, "h": 3600}
        text = budget.strip().lower()
        try:
            number = float(text[:-1]) * units[text[-1]] if text and text[-1] in units else float(text)
        except ValueError:
            raise UserError(f"a budget is a time like 90s, 10m or 2h, not {budget!r}") from None
    if number is not None and not 0 < number < float("inf"):
        raise UserError(f"a budget must be longer than no time, not {budget!r}")
    return number
