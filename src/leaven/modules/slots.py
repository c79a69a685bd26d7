"""Meanings that are sets of slots, as in name[The Mill], food[French]: read from texts."""

import re
from collections.abc import Iterable

SLOT = re.compile(r"(?<![^\[\],])(?=\s*[^\s\[\],])([^\[\],]+)\[([^\[\]]*)\]")  # tried only where a name can begin
SETS = 0.95  # share of the texts from which they are taken for sets of slots


def slots_of(text: str) -> frozenset[str]:
    """Each slot with its value, as one text in lower case and without blanks: a writer that spaces them otherwise means the same. Empty where there
    are none."""
    return frozenset("".join(f"{name}[{value}]".split()).lower() for name, value in SLOT.findall(text))


def are_slots(texts: Iterable[str]) -> bool:
    """Whether (nearly) all of these texts consist of slots alone."""
    whole = [SLOT.search(text) is not None and not SLOT.sub("", text).replace(",", "").strip() for text in texts]
    return bool(whole) and sum(whole) >= SETS * len(whole)
