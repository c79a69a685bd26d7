from __future__ import annotations

from typing import Any

from leaven.cli.command import command


@command
def inspect(inspection: Any, options: Any) -> tuple[Any, str]:
    return inspection.to_dict(), inspection.text()
