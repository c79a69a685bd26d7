from __future__ import annotations

from typing import Any

from leaven.cli.command import command
from leaven.cli.methods import settings_of, table_of


@command
def encoders(listed: Any, options: Any) -> tuple[Any, str]:
    if options.name is not None:
        return listed[0], table_of(listed[0])
    lines = []
    for encoder in listed:
        lines += [f"{encoder['name']}  ({', '.join(encoder['modalities'])}: {', '.join(encoder['offers'])})", f"  {encoder['summary']}"]
        lines += [f"  {settings_of(encoder)}", ""]
    return listed, "\n".join([*lines, "Any timm model of pictures works by its name as well, for example resnet18."])
