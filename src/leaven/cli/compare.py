from __future__ import annotations

from typing import Any

from leaven.cli.command import command


@command
def compare(comparison: Any, options: Any) -> tuple[Any, str]:
    content = comparison.to_dict()
    return content, f"{comparison.text()}\nThe whole story: {content['report']}"
