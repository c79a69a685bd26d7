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
    unit = "pictures" if options.task else "labels"
    what = f"{len(tags)} tags from {learned:,} samples" if tags else f"{len(classes)} classes from {learned:,} {unit}"
    tested = next((choice["value"] for choice in run.config["choices"] if choice["what"] == "test labels"), "")
    labels = "" if tested else labels_of(options)
    first = "label some of the val or test split, then " if tested == "none" else ""
    target = {"segmentation": "masks", "detection": "boxes.json"}.get(asked["method"]["name"], "predicted.csv")
    lines = [
        f"{run.path}: {what}, {result['steps']} steps, {result['seconds']:.0f} s",
        *verdict_lines(result),
        f"Next: {first}leaven evaluate {source}{labels}, and leaven predict {source} --out {target}",
    ]
    return content, "\n".join(lines)
