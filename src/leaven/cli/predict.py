from __future__ import annotations

from typing import Any

from leaven.cli.command import command

SHOWN = 10  # classes


@command
def predict(predictions: Any, options: Any) -> tuple[Any, str]:
    counts = predictions.counts
    commonest = sorted(counts.items(), key=lambda item: -item[1])[:SHOWN]
    tags = hasattr(predictions, "threshold")
    more = f", and {len(counts) - SHOWN} more {'tags' if tags else 'classes'}" if len(counts) > SHOWN else ""
    content = {
        "out": str(options.out),
        "count": len(predictions),
        "dim": len(predictions.classes),
        "classes": list(predictions.classes),
        "counts": counts,
        **({"threshold": predictions.threshold} if tags else {}),
    }
    what = f"samples, tags from a probability of {predictions.threshold:.2f} on" if tags else "labels"
    return content, f"{options.out}: {len(predictions):,} {what}: {', '.join(f'{count:,} {name}' for name, count in commonest)}{more}"
