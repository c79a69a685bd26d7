from __future__ import annotations

from typing import Any

from leaven.cli.command import command
from leaven.cli.pretrain import source_of, verdict_lines


@command
def finetune(run: Any, options: Any) -> tuple[Any, str]:
    asked, result = run.config["asked"], run.config["result"]
    learned, classes = asked["labels"]["learned"], asked["data"]["spec"]["class_names"]
    content = {"run": str(run.path), "start": str(options.run), "data": asked["data"]["name"], "classes": classes, "labels": learned, **result}
    source = f"{run.path} {source_of(options)}"
    tested = next((choice["value"] for choice in run.config["choices"] if choice["what"] == "test labels"), "")
    labels = f" --labels {options.labels}" if options.labels and not tested else ""
    first = "label some of the val or test split, then " if tested == "none" else ""
    lines = [
        f"{run.path}: {len(classes)} classes from {learned:,} labels, {result['steps']} steps, {result['seconds']:.0f} s",
        *verdict_lines(result),
        f"Next: {first}leaven evaluate {source}{labels}, and leaven predict {source} --out predicted.csv",
    ]
    return content, "\n".join(lines)
