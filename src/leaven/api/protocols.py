"""Every protocol there is."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from leaven.api.methods import plain
from leaven.api.options import Option, documented
from leaven.evaluation.registry import find_protocol, registry
from leaven.hyperparameters import explained


@documented
def list_protocols(
    name: Annotated[str | None, Option("One protocol, with what its options mean.", argument=True, names="protocols")] = None,
) -> list[dict[str, Any]]:
    """List the protocols that `leaven evaluate` scores by: what they measure, what they need, and their options.

    Returns name, title, what each needs, its options with their defaults and meanings, its floors, and whether `compare` can use it. Raises UserError
    for an unknown name.
    """
    return [
        {
            "name": protocol.name,
            "title": protocol.title,
            "summary": explained(protocol)[0][0],
            "needs": protocol.needs,
            "options": {option.name: plain(option.default) for option in dataclasses.fields(protocol)},
            "meanings": explained(protocol)[1],
            "floors": [floor.name for floor in protocol.floors],
            "compare": protocol.frozen,
        }
        for protocol in (registry().values() if name is None else [find_protocol(name)])
    ]
