from __future__ import annotations

from typing import Any

from leaven.cli.command import command


@command
def interpolate(way: Any, options: Any) -> tuple[Any, str]:
    texts = way if isinstance(way, list) else []
    content = {"texts": texts} if texts else {"shape": list(way.shape[1:])}
    lines = [*texts, f"{options.out}: {len(way)} steps from {options.a} to {options.b}"]
    return {"out": str(options.out), "count": len(way), **content}, "\n".join(lines)
