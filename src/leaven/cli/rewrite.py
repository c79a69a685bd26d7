from __future__ import annotations

from typing import Any

from leaven.cli.command import command


@command
def rewrite(rewritten: Any, options: Any) -> tuple[Any, str]:
    same = f"; {rewritten.same:,} texts came back as they were" if rewritten.same else ""
    return rewritten.to_dict(), f"{rewritten.out}: {rewritten.pairs:,} pairs{same}"
