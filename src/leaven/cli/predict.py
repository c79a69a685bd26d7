from __future__ import annotations

from typing import Any

from leaven.cli.app import shortened
from leaven.cli.command import command

SHOWN = 10  # classes, or texts


@command
def predict(predictions: Any, options: Any) -> tuple[Any, str]:
    if hasattr(predictions, "texts"):
        pairs = zip(predictions.files[:SHOWN], predictions.texts, strict=False)
        lines = [*(f"{file}  {shortened(text)}" for file, text in pairs), f"{options.out}: {len(predictions):,} texts"]
        return {"out": str(options.out), "count": len(predictions), "role": predictions.role, "texts": [*predictions.texts]}, "\n".join(lines)
    if hasattr(predictions, "what"):
        counted = ", ".join(f"{count:,} {name}" for name, count in predictions.counts.items())
        unit = "pixels" if predictions.what == "masks" else "boxes from a score of 0.5"
        content = {"out": str(options.out), "count": len(predictions), "dim": len(predictions.classes), "classes": list(predictions.classes)}
        return content | {"counts": predictions.counts}, f"{options.out}: {predictions.what} of {len(predictions):,} pictures; {unit}: {counted}"
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
        "calibrated": predictions.calibrated,
    }
    what = f"samples, tags from a probability of {predictions.threshold:.2f} on" if tags else "labels"
    return content, f"{options.out}: {len(predictions):,} {what}: {', '.join(f'{count:,} {name}' for name, count in commonest)}{more}"
