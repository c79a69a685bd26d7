"""What `leaven inspect` finds out: in the shapes of its JSON, and on one screen of a terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from leaven.inspection.advice import LEAST, duration
from leaven.inspection.cautions import several
from leaven.modalities import find_modality
from leaven.modalities.modality import to_compare

WIDTH = 12
NAMED = 3  # broken files, classes, formats
PLANAR = 3  # sizes of a picture: channels, height and width


@dataclass(frozen=True)
class Inspection:
    """A data set before anything is trained on it.

    samples: all of them, usable and broken; broken: list of {file, why}. unused: what else the source holds; notes: what is unusual about how it was
    read; both as phrases. splits: samples by name.
    formats, sizes: of the picture headers that were read: pictures by format; {read, width and height {min, median, max}}, None without files.
    channels: {role: {modality, shape, mean, std, constant; of text characters and words, {min, median, max} each}}. labels, groups, order: see
    `labels_of`, `groups_of` and `order_of`. duplicates: sets of equal samples, list of {rows, files, splits (where there are any), labels (where
    they differ)}.
    near_duplicates: the same, with the similarity of its first two, which are the most alike; None without pictures. thumbnails: {compared, flat,
    alike}: pictures compared, those too flat for it, and the least similarity of near copies. overlap: {splits: list of {of, samples, in, exact,
    near}, against: {data, samples, exact, near, pairs} or None}. mirrored, colour_twins, detail: see `TakenAway`. advice: {method, encoder, batch,
    size, budget, epochs, steps (two of these three None), why, beside (names of public models), cautions, command}; cautions alone where there is
    nothing to train. estimate: see `Pace.to_dict`; None where nothing was trained. suspects: see `Suspects.to_dict`; None without a run.
    """

    data: str
    samples: int
    usable: int
    broken: list[dict[str, str]]
    unused: list[str]
    notes: list[str]
    splits: dict[str, int]
    formats: dict[str, int]
    sizes: dict[str, Any] | None
    channels: dict[str, Any]
    labels: dict[str, Any]
    groups: dict[str, int]
    order: dict[str, Any] | None
    duplicates: list[dict[str, Any]]
    near_duplicates: list[dict[str, Any]] | None
    thumbnails: dict[str, Any] | None
    overlap: dict[str, Any]
    mirrored: float | None
    colour_twins: float | None
    detail: dict[str, Any] | None
    advice: dict[str, Any]
    estimate: dict[str, Any] | None
    suspects: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dataclasses.asdict(self)

    def text(self) -> str:
        """All of it on one screen of a terminal; the command to go on with comes last."""
        advice, groups = self.advice, self.groups
        broken = some([f"{broken['file']} ({broken['why']})" for broken in self.broken])
        contents = {
            "files": files_line(self),
            "broken": f"{len(self.broken):,}: {broken}" if broken else "none",
            "unused": "; ".join(self.unused),
            "notes": "; ".join(self.notes),
            "channels": channels_line(self.channels),
            "labels": labels_line(self.labels),
            "mislabeled": suspects_line(self.suspects),
            "groups": f"{groups['groups']:,}, of up to {groups['largest']:,} samples" if groups["groups"] else "none",
            "copies": copies_line(self),
            "overlap": overlap_line(self.overlap),
        }
        if self.estimate is None:
            plan = {"advice": f"none: {advice['why']['none']}"}
        else:
            chosen = {name: advice[name] for name in ("method", "encoder", "batch", "size", "budget", "epochs", "steps") if advice[name] is not None}
            chosen = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in chosen.items()}
            wide = max(map(len, chosen.values()))
            plan = {name: f"{value:<{wide}}  {advice['why'][name]}" for name, value in chosen.items()} | {"time": time_line(self.estimate)}
            plan["beside"] = to_compare(advice["beside"])
        cautions = ["", *(f"  ! {line}" for line in advice["cautions"])] if advice["cautions"] else []
        without_advice = "more samples, and the same command again" if self.usable < LEAST else "the same command with --method or --columns"
        lines = [f"{self.data}: {title(self)}", "", *aligned(contents), "", *aligned(plan), *cautions, ""]
        return "\n".join([*lines, f"Next: {advice['command'] or without_advice}"])


def aligned(lines: dict[str, str]) -> list[str]:
    return [f"  {name:<{WIDTH}}{line}" for name, line in lines.items() if line]


def title(inspection: Inspection) -> str:
    kinds = {role: find_modality(spec["modality"]).title(inspection.usable, spec) for role, spec in inspection.channels.items()}
    splits = ", ".join(f"{name} {count:,}" for name, count in inspection.splits.items() if name != "all")
    titles = kinds.values() if len(kinds) == 1 else [f"{role}: {kind}" for role, kind in kinds.items()]
    return "; ".join(titles) + (f" ({splits})" if splits else "")


def files_line(inspection: Inspection) -> str:
    if inspection.sizes is None:
        return ""
    read, width, height = (inspection.sizes[name] for name in ("read", "width", "height"))
    sizes = f"{width['min']} x {height['min']}"
    if width["min"] != width["max"] or height["min"] != height["max"]:
        sizes += f" to {width['max']} x {height['max']}, median {width['median']} x {height['median']}"
    counts = inspection.formats
    formats = some([f"{count:,} {name}" for name, count in counts.items()] if len(counts) > 1 else list(counts))
    return f"{formats}, {sizes}" + ("" if read == inspection.usable else f" (from {read:,} headers)")


def suspects_line(suspects: dict[str, Any] | None) -> str:
    """How many labels are probably wrong, and the surest of them."""
    if suspects is None:
        return ""
    worst = some([f"{line['file']} ({line['label']}, probably {line['likely']})" for line in suspects["worst"][:NAMED]])
    return f"probably {suspects['suspected']:,} of {suspects['tested']:,} labels" + (f": {worst}" if worst else "")


def channels_line(specs: dict[str, Any]) -> str:
    """Mean and deviation of the first role whose samples are pictures."""
    spec = next((spec for spec in specs.values() if find_modality(spec["modality"]).visible and len(spec["shape"]) == PLANAR), None)
    if spec is None:
        return ""
    mean, deviation = (" ".join(f"{value:.3f}" for value in spec[name]) for name in ("mean", "std"))
    return f"mean {mean}, deviation {deviation}"


def labels_line(labels: dict[str, Any]) -> str:
    counts = {name: count for name, count in labels["counts"].items() if count}
    if not counts:
        named = " or ".join(f"--labels {column}" for column in labels["columns"][:NAMED])
        return f"none asked for; columns that may hold some: {named}" if named else "none"
    labeled = f"{labels['labeled']:,} labeled"
    least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    if labels["tags"]:
        per_sample = sum(counts.values()) / labels["labeled"]
        listed = some([f"{name} {counts[name]:,}" for name in sorted(counts, key=lambda name: -counts[name])])
        untagged = f", {labels['untagged']:,} of them with none" if labels["untagged"] else ""
        return f"{len(counts):,} tags, {labeled}{untagged}, {per_sample:.1f} per sample: {listed}, down to {counts[least]:,} ({least})"
    if len(counts) == 1:
        return f"{labeled}, all {most}"
    spread = f"{counts[most]:,} each" if counts[least] == counts[most] else f"from {counts[least]:,} ({least}) to {counts[most]:,} ({most})"
    return f"{len(counts):,} classes, {labeled}, {spread}"


def copies_line(inspection: Inspection) -> str:
    exact, near = inspection.duplicates, inspection.near_duplicates
    line = f"{sum(len(copies['rows']) for copies in exact):,} equal samples ({several(len(exact), 'set')})" if exact else "none equal"
    if near is None or inspection.thumbnails is None:
        return line
    count, alike, compared = sum(len(copies["rows"]) for copies in near), inspection.thumbnails["alike"], inspection.thumbnails["compared"]
    line += f"; {count:,} nearly equal ({several(len(near), 'set')}, likeness from {alike:.2f})" if near else "; none nearly equal"
    different = inspection.usable - sum(len(copies["rows"]) - 1 for copies in exact)
    return line + (f", among {compared:,} that were compared" if compared < different else "")


def overlap_line(overlap: dict[str, Any]) -> str:
    parts = [(f"{part['of']} and {part['in']}", part) for part in overlap["splits"]]
    if against := overlap["against"]:
        parts.append((f"{against['data']} and this", against))
    return "; ".join(f"{names} {shared_samples(part)}" for names, part in parts)


def shared_samples(part: dict[str, Any]) -> str:
    near = "" if part["near"] is None else f" and {part['near']:,} nearly equal"
    return f"share {part['exact']:,} equal{near} samples" if part["exact"] or part["near"] else "share nothing"


def time_line(estimate: dict[str, Any]) -> str:
    line = f"{duration(estimate['seconds'])} for {estimate['epochs']:,.3g} passes of {duration(estimate['seconds_per_epoch'])}"
    line += f", {estimate['samples_per_second']:,.0f} samples/s on {estimate['device']}"
    if estimate["memory_bytes"]:
        line += f", {estimate['memory_bytes'] / 1e9:.1f} GB of memory"
    return line + ("" if estimate["decoded"] else f"; decoding all once takes {duration(estimate['decoding_seconds'])}")


def some(names: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")
