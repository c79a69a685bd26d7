from __future__ import annotations

from typing import Any

from leaven.cli.command import command


@command
def claims(listed: Any, options: Any) -> tuple[Any, str]:
    return listed, "\n".join(map(in_words, listed))


def in_words(claim: dict[str, Any]) -> str:
    head = f"{claim['name']}  (about {claim['minutes']} minutes on two cores, {claim['seeds']} seeds, {claim['data']})"
    return f"{head}\n  {claim['says']}\n  {claim['source']}\n  Rule: {claim['rule']}\n"
