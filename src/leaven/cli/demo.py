from __future__ import annotations

from pathlib import Path
from typing import Any

from leaven.cli.command import command


@command
def demo(card: Any, options: Any) -> tuple[Any, str]:
    folder = Path(options.out)
    content = {**card.to_dict(), "report": str(folder / "report.html")}
    lines = [card.text(), f"The report: {content['report']}"]
    if options.pairs:
        content["found"] = str(folder / "found.png")
        lines.append(f"{options.query!r} finds: {content['found']}")
    return content, "\n".join(lines)
