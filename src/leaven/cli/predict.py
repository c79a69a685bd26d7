from __future__ import annotations

from typing import Any

from leaven.cli.command import command

SHOWN = 10  # classes


@command
def predict(predictions: Any, options: Any) -> tuple[Any, str]:
    counts = predictions.counts
    commonest = sorted(counts.items(), key=lambda item: -item[1])[:SHOWN]
    more = f", and {len(counts) - SHOWN} more classes" if len(counts) > SHOWN else ""
    content = {
        "out": str(options.out),
        "count": len(predictions),
        "dim": len(predictions.classes),
        "classes": list(predictions.classes),
        "counts": counts,
        "calibrated": predictions.calibrated,
    }
    return content, f"{options.out}: {len(predictions):,} labels: {', '.join(f'{count:,} {name}' for name, count in commonest)}{more}"
