from __future__ import annotations

from typing import Any

from leaven.cli.command import command


@command
def reproduce(result: Any, options: Any) -> tuple[Any, str]:
    return result, f"{result['claim']}: {result['verdict']}. {result['because']}\nThe whole story: {result['report']}"
