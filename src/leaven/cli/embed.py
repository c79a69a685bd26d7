from __future__ import annotations

from typing import Any

from leaven.cli.command import command


@command
def embed(vectors: Any, options: Any) -> tuple[Any, str]:
    count, dim = vectors.shape
    return {"out": str(options.out), "count": count, "dim": dim}, f"{options.out}: {count:,} vectors of {dim} numbers"
