"""An inspection on one screen of a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from leaven.inspection.advice import LEAST, duration
from leaven.inspection.cautions import several
from leaven.modalities import find_modality

if TYPE_CHECKING:
    from leaven.inspection.inspection import Inspection

WIDTH = 12
NAMED = 3  # broken files, classes, formats


def text(inspection: Inspection) -> str:
    """Contents, advice, estimate and cautions as aligned lines; the command to go on with comes last."""
    contents = {
        "files": files(inspection),
        "broken": broken(inspection.broken),
        "unused": "; ".join(inspection.unused),
        "channels": channels(inspection.channels),
        "labels": labels(inspection.labels),
        "groups": groups(inspection.groups),
        "copies": copies(inspection),
        "overlap": overlap(inspection.overlap),
    }
    advice, estimate = inspection.advice, inspection.estimate
    lines = [f"{inspection.data}: {title(inspection)}", "", *rows(contents), ""]
    if estimate is not None:
        chosen = {what: advice[what] for what in ("method", "encoder", "batch", "size", "budget", "epochs", "steps") if advice[what] is not None}
        chosen = {what: f"{value:g}" if isinstance(value, float) else str(value) for what, value in chosen.items()}
        wide = max(map(len, chosen.values()))
        lines += rows({what: f"{value:<{wide}}  {advice['why'][what]}" for what, value in chosen.items()})
        lines += rows({"time": time(estimate)})
    else:
        lines += rows({"advice": f"none: {advice['why']['none']}"})
    lines += ["", *(f"  ! {line}" for line in advice["cautions"])] if advice["cautions"] else []
    return "\n".join([*lines, "", f"Next: {advice['command']}" if advice["command"] else f"Next: {without_advice(inspection)}"])


def without_advice(inspection: Inspection) -> str:
    return "more samples, and the same command again" if inspection.usable < LEAST else "the same command with --method or --columns"


def rows(named: dict[str, str]) -> list[str]:
    return [f"  {name:<{WIDTH}}{line}" for name, line in named.items() if line]


def title(inspection: Inspection) -> str:
    kinds = [find_modality(spec["modality"]).title(inspection.usable, spec) for spec in inspection.channels.values()]
    named = [f"{role}: {kind}" for role, kind in zip(inspection.channels, kinds, strict=True)]
    splits = ", ".join(f"{name} {count:,}" for name, count in inspection.splits.items() if name != "all")
    return (kinds[0] if len(kinds) == 1 else "; ".join(named)) + (f" ({splits})" if splits else "")


def files(inspection: Inspection) -> str:
    if inspection.sizes is None:
        return ""
    read = inspection.sizes["read"]
    width, height = inspection.sizes["width"], inspection.sizes["height"]
    one = width["min"] == width["max"] and height["min"] == height["max"]
    sizes = f"{width['min']} x {height['min']}"
    if not one:
        sizes += f" to {width['max']} x {height['max']}, median {width['median']} x {height['median']}"
    counts = inspection.formats
    formats = some([f"{count:,} {name}" for name, count in counts.items()] if len(counts) > 1 else list(counts))
    return f"{formats}, {sizes}" + ("" if read == inspection.usable else f" (from {read:,} headers)")


def broken(broken_files: list[dict[str, str]]) -> str:
    named = some([f"{file['file']} ({file['why']})" for file in broken_files])
    return f"{len(broken_files):,}: {named}" if broken_files else "none"


def channels(specs: dict[str, Any]) -> str:
    """Mean and deviation of the first role that can be seen."""
    spec = next((spec for spec in specs.values() if find_modality(spec["modality"]).visible), None)
    if spec is None:
        return ""
    mean, std = (" ".join(f"{value:.3f}" for value in spec[what]) for what in ("mean", "std"))
    return f"mean {mean}, deviation {std}"


def labels(described: dict[str, Any]) -> str:
    counts = {name: count for name, count in described["counts"].items() if count}
    if not counts:
        return "none"
    least, most = min(counts, key=lambda name: counts[name]), max(counts, key=lambda name: counts[name])
    spread = f"{counts[most]:,} each" if counts[least] == counts[most] else f"from {counts[least]:,} ({least}) to {counts[most]:,} ({most})"
    labeled = f"{described['labeled']:,} labeled"
    return f"{len(counts):,} classes, {labeled}, {spread}" if len(counts) > 1 else f"{labeled}, all {most}"


def groups(described: dict[str, int]) -> str:
    return f"{described['groups']:,}, of up to {described['largest']:,} samples" if described["groups"] else "none"


def copies(inspection: Inspection) -> str:
    exact, near = inspection.duplicates, inspection.near_duplicates
    line = f"{sum(len(same['rows']) for same in exact):,} equal samples ({several(len(exact), 'set')})" if exact else "none equal"
    if near is None or inspection.thumbnails is None:
        return line
    count, alike = sum(len(same["rows"]) for same in near), inspection.thumbnails["alike"]
    line += f"; {count:,} nearly equal ({several(len(near), 'set')}, likeness from {alike:.2f})" if near else "; none nearly equal"
    compared = inspection.thumbnails["compared"]
    different = inspection.usable - sum(len(same["rows"]) - 1 for same in exact)
    return line + (f", among {compared:,} that were compared" if compared < different else "")


def overlap(described: dict[str, Any]) -> str:
    parts = [f"{part['of']} and {part['in']} {counted(part)}" for part in described["splits"]]
    if described["against"] is not None:
        parts.append(f"{described['against']['data']} and this {counted(described['against'])}")
    return "; ".join(parts)


def counted(part: dict[str, Any]) -> str:
    near = "" if part["near"] is None else f" and {part['near']:,} nearly equal"
    return f"share {part['exact']:,} equal{near} samples" if part["exact"] or part["near"] else "share nothing"


def time(estimate: dict[str, Any]) -> str:
    line = f"{duration(estimate['seconds'])} for {estimate['epochs']:,.3g} passes of {duration(estimate['seconds_per_epoch'])}"
    line += f", {estimate['samples_per_second']:,.0f} samples/s on {estimate['device']}"
    if estimate["memory_bytes"]:
        line += f", {estimate['memory_bytes'] / 1e9:.1f} GB of memory"
    return line + ("" if estimate["decoded"] else f"; decoding all once takes {duration(estimate['decoding_seconds'])}")


def some(names: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")
