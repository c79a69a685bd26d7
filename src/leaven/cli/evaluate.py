from __future__ import annotations

from typing import Any

from leaven.cli.command import command


@command
def evaluate(card: Any, options: Any) -> tuple[Any, str]:
    report = options.run / "report.html"
    return {**card.to_dict(), "report": str(report)}, f"{card.text()}\nThe whole story: {report}"
