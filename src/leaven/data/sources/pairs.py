"""Which columns of texts belong together, by the names that people give them."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

ANSWERED = (
    ("anchor", "positive"), ("query", "positive"), ("query", "pos"), ("query", "passage"), ("query", "document"), ("query", "answer"),
    ("question", "answer"), ("question", "positive"), ("question", "passage"), ("source", "target"), ("src", "tgt"), ("sent0", "sent1"),
    ("sentence0", "sentence1"),
)  # fmt: skip
NOUNS = ("sentence", "sent", "s", "text", "txt", "question", "q", "string", "phrase", "utterance", "document", "doc", "query", "caption", "title")
SIDES = (
    ("a", "b"), ("premise", "hypothesis"),
    *((noun + one, noun + two) for noun in NOUNS for one, two in (("1", "2"), ("a", "b"), ("left", "right"))),
)  # fmt: skip
NEGATIVES = ("negative", "hardnegative", "hardneg", "neg", "negative1", "hardnegative1", "negative0")
SCORES = ("score", "relatednessscore", "similarity", "similarityscore", "label")


def plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())


def pair_roles(texts: Sequence[str], numbers: Sequence[str], labeled: bool) -> dict[str, str]:
    """Role -> column; empty where the names of the columns say nothing of pairs.

    Two alike sides with a score or a label are a, b (and score). Other pairs are anchor, positive, and negative where there is one.
    """
    columns = {plain(column): column for column in reversed(texts)}
    score = next((column for name in SCORES for column in numbers if plain(column) == name), None)
    negative = next((columns[name] for name in NEGATIVES if name in columns), None)
    if sides := named(columns, SIDES):
        if negative is None and score is not None:
            return {"a": sides[0], "b": sides[1], "score": score}
        if negative is None and labeled:
            return {"a": sides[0], "b": sides[1]}
    if pair := named(columns, ANSWERED) or sides:
        return {"anchor": pair[0], "positive": pair[1]} | ({} if negative is None else {"negative": negative})
    return {}


def named(columns: dict[str, str], pairs: Collection[tuple[str, str]]) -> tuple[str, str] | None:
    """The first of these pairs of names that columns have."""
    return next(((columns[one], columns[two]) for one, two in pairs if one in columns and two in columns), None)
