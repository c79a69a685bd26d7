"""Every encoder there is."""

from __future__ import annotations

from typing import Annotated, Any

from leaven.api.methods import plain
from leaven.api.options import Option, documented
from leaven.encoders import OWN
from leaven.errors import unknown_name
from leaven.hyperparameters import explained, hyperparameters


@documented
def list_encoders(
    name: Annotated[str | None, Option("One encoder, with what its parameters mean.", argument=True, names="encoders")] = None,
) -> list[dict[str, Any]]:
    """List Leaven's own encoders; any timm model works by its name as well.

    Returns name, modalities, what they offer, and their arguments with defaults and meanings. Raises UserError for a name that is not among them.
    """
    if name is not None and name not in OWN:
        raise unknown_name("encoder", name, OWN, "leaven encoders")
    return [
        {
            "name": known,
            "modalities": list(kind.modalities),
            "offers": list(kind.offers),
            "summary": explained(kind)[0][0],
            "parameters": {key: plain(parameter.default) for key, parameter in hyperparameters(kind).items()},
            "meanings": explained(kind)[1],
        }
        for known, kind in OWN.items()
        if name in (None, known)
    ]
