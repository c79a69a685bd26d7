from __future__ import annotations

from pathlib import Path
from typing import Any

from leaven.cli.command import command


@command
def demo(card: Any, options: Any) -> tuple[Any, str]:
    report = Path(options.out) / "report.html"
    return {**card.to_dict(), "report": str(report)}, f"{card.text()}\nThe report: {report}"
