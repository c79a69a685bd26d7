"""What `leaven inspect` finds out, in the shapes of its JSON."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from leaven.inspection.text import text


@dataclass(frozen=True)
class Inspection:
    """A data set before anything is trained on it.

    samples: all of them, usable and broken; broken: list of {file, why}. unused: what else the source holds, as phrases. splits: samples by name.
    formats, sizes: of the picture headers that were read: pictures by format; {read, width and height {min, median, max}}, None without files.
    channels: {role: {modality, shape, mean, std, constant; of text characters and words, {min, median, max} each}}. labels, groups: see `labels_of`
    and `groups_of`. duplicates: sets of equal samples, list of {rows, files, splits (where there are any), labels (where they differ)}.
    near_duplicates: the same, with the similarity of its first two, which are the most alike; None without pictures. thumbnails: {compared, flat,
    alike}: pictures compared, those too flat for it, and the least similarity of near copies. overlap: {splits: list of {of, samples, in, exact,
    near}, against: {data, samples, exact, near, pairs} or None}. advice: {method, encoder, batch, size, budget, epochs, steps (two of these three
    None), why, cautions, command}; cautions alone where there is nothing to train. estimate: see `Pace.to_dict`; None where nothing was trained.
    """

    data: str
    samples: int
    usable: int
    broken: list[dict[str, str]]
    unused: list[str]
    splits: dict[str, int]
    formats: dict[str, int]
    sizes: dict[str, Any] | None
    channels: dict[str, Any]
    labels: dict[str, Any]
    groups: dict[str, int]
    duplicates: list[dict[str, Any]]
    near_duplicates: list[dict[str, Any]] | None
    thumbnails: dict[str, Any] | None
    overlap: dict[str, Any]
    advice: dict[str, Any]
    estimate: dict[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dataclasses.asdict(self)

    def text(self) -> str:
        """All of it on one screen of a terminal; the command to go on with comes last."""
        return text(self)
