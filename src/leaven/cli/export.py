from __future__ import annotations

from typing import Any

from leaven.cli.command import command


@command
def export(exported: Any, options: Any) -> tuple[Any, str]:
    difference = exported.difference.relative
    nearness = f"within {difference:.1e} of" if difference else "equal to"
    return exported.to_dict(), f"{exported.out}: {exported.count:,} parameters, {exported.dim} features, {nearness} the encoder's"
