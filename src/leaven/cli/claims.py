from __future__ import annotations

from typing import Any

from leaven.cli.app import AsJson, answer, app


@app.command()
def claims(as_json: AsJson = False) -> None:
    """List the claims of the field that can be checked: what they say, the rule that decides them, and how long a check takes."""
    import leaven

    claims = leaven.list_claims()
    answer(as_json, claims, "\n".join(map(in_words, claims)))


def in_words(claim: dict[str, Any]) -> str:
    head = f"{claim['name']}  (about {claim['minutes']} minutes on two cores, {claim['seeds']} seeds, {claim['data']})"
    return f"{head}\n  {claim['says']}\n  {claim['source']}\n  Rule: {claim['rule']}\n"
