from __future__ import annotations

from typing import Annotated

import typer

from leaven.cli import completion
from leaven.cli.app import AsJson, answer, app
from leaven.cli.methods import one_of, settings_of, table_of


@app.command()
def encoders(
    name: Annotated[
        str | None,
        typer.Argument(help="One encoder, with what its parameters mean.", autocompletion=completion.one_of(found=completion.encoder_names)),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List Leaven's own encoders; any timm model works by its name as well."""
    import leaven

    listed = leaven.list_encoders()
    if name is not None:
        one = one_of(listed, "encoder", name, "leaven encoders")
        answer(as_json, one, table_of(one))
        return
    if as_json:
        answer(True, listed)
        return
    for encoder in listed:
        print(f"{encoder['name']}  ({', '.join(encoder['modalities'])}: {', '.join(encoder['offers'])})\n  {encoder['summary']}")
        print(f"  {settings_of(encoder)}\n")
    print("Any timm model of pictures works by its name as well, for example resnet18.")
