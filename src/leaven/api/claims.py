"""Every claim there is."""

from __future__ import annotations

from typing import Any

from leaven.experiments.reproduction import claims

FIELDS = ("name", "says", "source", "rule", "data", "seeds", "minutes")


def list_claims() -> list[dict[str, Any]]:
    """List the claims of the field that can be checked: what they say, the rule that decides them, and how long a check takes.

    Returns name, what each says, its source, rule, data and seeds, and how many minutes it takes on two CPU cores.
    """
    return [{field: getattr(claim, field) for field in FIELDS} for claim in claims().values()]
