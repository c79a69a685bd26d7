"""What was found, on one screen of a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from leaven.inspection.advice import duration
from leaven.inspection.cautions import several
from leaven.inspection.inspection import Inspection
from leaven.modalities import find_modality

WIDTH = 12
NAMED = 3  # broken files, classes, formats


def text(found: Inspection) -> str:
    """Contents, advice, estimate and cautions as aligned lines; the command to go on with comes last."""
    contents = {
        "files": files(found),
        "broken": broken(found.broken),
        "channels": channels(found.channels),
        "labels": labels(found.labels),
        "groups": groups(found.groups),
        "copies": copies(found),
        "overlap": overlap(found.overlap),
    }
    advice, estimate = found.advice, found.estimate
    lines = [f"{found.data}: {title(found)}", "", *rows(contents), ""]
    if estimate is not None:
        chosen = {what: advice[what] for what in ("method", "encoder", "batch", "size", "budget", "epochs", "steps") if advice[what] is not None}
        chosen = {what: f"{value:g}" if isinstance(value, float) else str(value) for what, value in chosen.items()}
        wide = max(map(len, chosen.values()))
        lines += rows({what: f"{value:<{wide}}  {advice['why'][what]}" for what, value in chosen.items()})
        lines += rows({"time": time(estimate)})
    else:
        lines += rows({"advice": f"none: {advice['why']['none']}"})
    lines += ["", *(f"  ! {line}" for line in advice["cautions"])] if advice["cautions"] else []
    return "\n".join([*lines, "", f"Next: {advice['command']}" if advice["command"] else "Next: more samples, and the same command again"])


def rows(named: dict[str, str]) -> list[str]:
    return [f"  {name:<{WIDTH}}{told}" for name, told in named.items() if told]


def title(found: Inspection) -> str:
    spec = next(iter(found.channels.values()))
    kind = find_modality(spec["modality"]).title(found.usable, spec)
    kind += f", of the roles {', '.join(found.channels)}" if len(found.channels) > 1 else ""
    splits = ", ".join(f"{name} {count:,}" for name, count in found.splits.items() if name != "all")
    return kind + (f" ({splits})" if splits else "")


def files(found: Inspection) -> str:
    if found.sizes is None:
        return ""
    read = found.sizes["read"]
    width, height = found.sizes["width"], found.sizes["height"]
    one = width["min"] == width["max"] and height["min"] == height["max"]
    sizes = f"{width['min']} x {height['min']}"
    if not one:
        sizes += f" to {width['max']} x {height['max']}, median {width['median']} x {height['median']}"
    formats = some([f"{count:,} {name}" for name, count in found.formats.items()] if len(found.formats) > 1 else list(found.formats))
    return f"{formats}, {sizes}" + ("" if read == found.usable else f" (from {read:,} headers)")


def broken(listed: list[dict[str, str]]) -> str:
    told = some([f"{each['file']} ({each['why']})" for each in listed])
    return f"{len(listed):,}: {told}" if listed else "none"


def channels(specs: dict[str, Any]) -> str:
    spec = next(iter(specs.values()))
    if not find_modality(spec["modality"]).visible:
        return ""
    mean, std = (" ".join(f"{value:.3f}" for value in spec[what]) for what in ("mean", "std"))
    return f"mean {mean}, deviation {std}"


def labels(told: dict[str, Any]) -> str:
    counts = {name: count for name, count in told["counts"].items() if count}
    if not counts:
        return "none"
    least, most = min(counts, key=lambda name: counts[name]), max(counts, key=lambda name: counts[name])
    spread = f"{counts[most]:,} each" if counts[least] == counts[most] else f"from {counts[least]:,} ({least}) to {counts[most]:,} ({most})"
    return f"{len(counts):,} classes, {told['labeled']:,} labeled, {spread}" if len(counts) > 1 else f"{told['labeled']:,} labeled, all {most}"


def groups(told: dict[str, int]) -> str:
    return f"{told['groups']:,}, of up to {told['largest']:,} samples" if told["groups"] else "none"


def copies(found: Inspection) -> str:
    exact, near = found.duplicates, found.near_duplicates
    told = f"{sum(len(each['rows']) for each in exact):,} equal samples ({several(len(exact), 'set')})" if exact else "none equal"
    if near is None or found.thumbnails is None:
        return told
    count, alike = sum(len(each["rows"]) for each in near), found.thumbnails["alike"]
    told += f"; {count:,} nearly equal ({several(len(near), 'set')}, likeness from {alike:.2f})" if near else "; none nearly equal"
    compared = found.thumbnails["compared"]
    return told + (f", among {compared:,} that were compared" if compared < found.usable - sum(len(each["rows"]) - 1 for each in exact) else "")


def overlap(told: dict[str, Any]) -> str:
    parts = [f"{each['of']} and {each['in']} {counted(each)}" for each in told["splits"]]
    if told["against"] is not None:
        parts.append(f"{told['against']['data']} and this {counted(told['against'])}")
    return "; ".join(parts)


def counted(each: dict[str, Any]) -> str:
    near = "" if each["near"] is None else f" and {each['near']:,} nearly equal"
    return f"share {each['exact']:,} equal{near} samples" if each["exact"] or each["near"] else "share nothing"


def time(estimate: dict[str, Any]) -> str:
    told = f"{duration(estimate['seconds'])} for {estimate['epochs']:,.3g} passes of {duration(estimate['seconds_per_epoch'])}"
    told += f", {estimate['samples_per_second']:,.0f} samples/s on {estimate['device']}"
    if estimate["memory_bytes"]:
        told += f", {estimate['memory_bytes'] / 1e9:.1f} GB of memory"
    return told + ("" if estimate["decoded"] else f"; decoding all once takes {duration(estimate['decoding_seconds'])}")


def some(told: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    return ", ".join(told[:NAMED]) + (f" and {len(told) - NAMED:,} more" if len(told) > NAMED else "")
