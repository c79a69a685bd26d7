from __future__ import annotations

from pathlib import Path
from typing import Any

from leaven.cli.command import command
from leaven.run import when


@command
def pretrain(run: Any, options: Any) -> tuple[Any, str]:
    config = run.config
    result, asked = config["result"], config["asked"]
    encoders = [described["name"] for described in asked["encoder"].values()]
    content = {
        "run": str(run.path),
        "method": asked["method"]["name"],
        "encoder": encoders[0] if len(encoders) == 1 else encoders,
        "data": asked["data"]["name"],
        **result,
    }
    spent = sum(result["time_split"].values())
    split = ", ".join(f"{part} {100 * seconds / spent:.0f} %" for part, seconds in result["time_split"].items())
    steps = f"{result['steps']} steps" if result["steps"] else "computed at once"
    lines = [
        f"{run.path}: {steps}, {result['samples']:,} samples, {result['seconds']:.0f} s, {result['samples_per_second']:.0f} samples/s ({split})",
        *verdict_lines(result),
        f"Next: {what_next(run, asked, options)}" + (f"; the report: {run.path / 'report.html'}" if (run.path / "report.html").exists() else ""),
    ]
    if models := public_models(config):
        lines.append(f"Public models to compare with: {models}")
    return content, "\n".join(lines)


def public_models(config: dict[str, Any]) -> str:
    """The usual ones for what the run read, and the command, in one line; empty where there are none."""
    from leaven.modalities.modality import find_modality, to_compare

    spec = next(iter(config["asked"]["data"]["spec"]["roles"].values()))
    return to_compare(find_modality(spec["modality"]).usual_models(config["machine"]["device"]))


def verdict_lines(result: dict[str, Any]) -> list[str]:
    return [f"{verdict['verdict']} {when(verdict)}: {verdict['why']}" for verdict in result["health"]]


def what_next(run: Any, asked: dict[str, Any], options: Any) -> str:
    """The command that suits the data: `evaluate` where it has labels or pairs, else how to give labels, or what needs none."""
    from leaven.data.open import label_columns

    source = f"{run.path} {source_of(options)}"
    evaluate, spec = f"leaven evaluate {source}{labels_of(options)}", asked["data"]["spec"]
    if options.labels or spec["classes"] > 1 or spec.get("tag_names") or len(spec["roles"]) > 1:
        return evaluate
    if columns := label_columns(Path(options.data), (options.columns or {}).values()):
        return " or ".join(f"{evaluate} --labels {column}" for column in columns[:2])
    return f"{evaluate} --labels FILE.csv (file,label of some), or leaven embed {source} --out vectors.npy"


def labels_of(options: Any) -> str:
    """Where the labels of a command are, and how they are read, as another command takes it."""
    reading = " ".join(f"--set {name}={value}" for name, value in (options.settings or {}).items() if name in ("labels", "fewest"))
    return (f" --labels {options.labels}" if options.labels else "") + (f" {reading}" if reading else "")


def source_of(options: Any) -> str:
    """The data of a command and its columns, as another command takes them."""
    return str(options.data) + (f" --columns {','.join(map('='.join, options.columns.items()))}" if options.columns else "")
