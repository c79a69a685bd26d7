from __future__ import annotations

from typing import Any

from leaven.cli.command import command


@command
def reconstruct(reconstruction: Any, options: Any) -> tuple[Any, str]:
    out = None if options.out is None else str(options.out)
    return {"out": out, **reconstruction.to_dict()}, "\n".join([reconstruction.text(), *([out] if out else [])])
