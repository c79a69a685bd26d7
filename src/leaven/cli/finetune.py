from __future__ import annotations

from typing import Any

from leaven.cli.command import command
from leaven.cli.pretrain import labels_of, source_of, verdict_lines


@command
def finetune(run: Any, options: Any) -> tuple[Any, str]:
    asked, result = run.config["asked"], run.config["result"]
    learned, spec = asked["labels"]["learned"], asked["data"]["spec"]
    classes, tags = spec["class_names"], spec.get("tag_names", [])
    named = {"classes": classes, **({"tags": tags} if tags else {})}
    content = {"run": str(run.path), "start": str(options.run), "data": asked["data"]["name"], **named, "labels": learned, **result}
    source = f"{run.path} {source_of(options)}"
    labels = labels_of(options)
    what = f"{len(tags)} tags from {learned:,} samples" if tags else f"{len(classes)} classes from {learned:,} labels"
    lines = [
        f"{run.path}: {what}, {result['steps']} steps, {result['seconds']:.0f} s",
        *verdict_lines(result),
        f"Next: leaven evaluate {source}{labels}, and leaven predict {source} --out predicted.csv",
    ]
    return content, "\n".join(lines)
