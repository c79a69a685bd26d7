from __future__ import annotations

import json
from typing import Any

from leaven.cli.app import AsJson, answer, app


def settings_of(listed: dict[str, Any]) -> str:
    """The parameters of a method or an encoder with their defaults, in the form that --set takes."""
    return " ".join(f"{name}={json.dumps(value)}" for name, value in listed["parameters"].items())


@app.command()
def methods(as_json: AsJson = False) -> None:
    """List the methods: what they are, their papers and parameters."""
    import leaven

    listed = leaven.list_methods()
    if as_json:
        answer(True, listed)
        return
    for method in listed:
        print(f"{method['name']}  ({method['family']}, {method['modality']})\n  {method['summary']}")
        print(f"  {method['paper']}, {method['year']}\n  {settings_of(method)}\n")


@app.command()
def encoders(as_json: AsJson = False) -> None:
    """List Leaven's own encoders; any timm model works by its name as well."""
    import leaven

    listed = leaven.list_encoders()
    if as_json:
        answer(True, listed)
        return
    for encoder in listed:
        print(f"{encoder['name']}  ({', '.join(encoder['modalities'])}: {', '.join(encoder['offers'])})\n  {encoder['summary']}")
        print(f"  {settings_of(encoder)}\n")
    print("Any timm model of pictures works by its name as well, for example resnet18.")
