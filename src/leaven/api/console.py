"""How the public functions speak of data."""

from __future__ import annotations

from leaven.console import Say
from leaven.data import DataSet


def describe_data(data: DataSet, say: Say) -> None:
    splits = ", ".join(f"{len(rows):,} {name}" for name, rows in data.splits.items())
    shapes = ", ".join(" ".join([spec.modality, "x".join(map(str, spec.shape))]).strip() for spec in data.spec.roles.values())
    labels = f"{data.spec.classes} classes, {data.spec.labeled:,} labels" if data.spec.classes else "no labels"
    say(f"{data.name}: {len(data):,} samples ({splits}), {shapes}, {labels}")
    if data.undecoded:
        say("more pictures than the cache may hold (LEAVEN_CACHE_LIMIT): they are decoded whenever they are needed, which is slower")
    if data.broken:
        first = data.broken[0]
        say(f"{len(data.broken)} broken set aside; the first: {first.file} ({first.why})")
