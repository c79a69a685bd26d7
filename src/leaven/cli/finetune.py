from __future__ import annotations

from typing import Any

from leaven.cli.command import command
from leaven.cli.pretrain import verdict_lines


@command
def finetune(run: Any, options: Any) -> tuple[Any, str]:
    asked, result = run.config["asked"], run.config["result"]
    learned, classes = asked["labels"]["learned"], asked["data"]["spec"]["class_names"]
    content = {"run": str(run.path), "start": str(options.run), "data": asked["data"]["name"], "classes": classes, "labels": learned, **result}
    labels = f" --labels {options.labels}" if options.labels else ""
    lines = [
        f"{run.path}: {len(classes)} classes from {learned:,} labels, {result['steps']} steps, {result['seconds']:.0f} s",
        *verdict_lines(result),
        f"Next: leaven evaluate {run.path} {options.data}{labels}, and leaven predict {run.path} {options.data} --out predicted.csv",
    ]
    return content, "\n".join(lines)
