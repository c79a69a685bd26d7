from __future__ import annotations

from leaven.cli.app import AsJson, answer, app


@app.command()
def claims(as_json: AsJson = False) -> None:
    """List the claims of the field that can be checked: what they say, by which rule, and how long it takes."""
    import leaven

    listed = leaven.list_claims()
    if as_json:
        answer(True, listed)
        return
    for claim in listed:
        print(f"{claim['name']}  (about {claim['minutes']} minutes on two cores, {claim['seeds']} seeds, {claim['data']})\n  {claim['says']}")
        print(f"  {claim['source']}\n  Rule: {claim['rule']}\n")
