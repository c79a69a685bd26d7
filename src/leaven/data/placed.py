"""Whole pictures, and what lies in each of them: boxes or masks."""

from __future__ import annotations

import glob
import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from leaven.data.batch import Batch
from leaven.data.box_files import BoxFiles
from leaven.data.dataset import Broken, DataSet
from leaven.data.mask_files import MaskFiles
from leaven.data.sources import folders, named
from leaven.data.sources.folders import Folder
from leaven.data.sources.kinds import Kinds
from leaven.data.splits import split_rows
from leaven.errors import UserError
from leaven.modalities import Pixels
from leaven.modalities.decoding import Reading, decode_whole, scaled_to
from leaven.modalities.picture_files import Source, Unusable, opened, quiet

READERS: dict[str, Any] = {"boxes": BoxFiles, "mask": MaskFiles}
"""What reads each kind of target."""
USUAL = 240  # pixels of the short side at most, where the user gives none


@dataclass(frozen=True, eq=False)
class Placed:
    """data: whole pictures, scaled to fit into sides of their own and laid at the top left; beside them their boxes or masks, where these are asked
    for. sizes: height and width of each picture as it lies on disk. targets: what reads the truth of a row (None: only pictures). origins: the row of
    each picture in what targets read."""

    data: DataSet
    sizes: tuple[tuple[int, int], ...]
    targets: BoxFiles | MaskFiles | None
    origins: tuple[int, ...]

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of all pictures as they are stored."""
        height, width = self.data.spec.roles["x"].shape[1:]
        return height, width

    def scaled(self, row: int) -> tuple[int, int]:
        """Height and width that a picture takes of these sides."""
        return scaled_to(self.sizes[row], self.sides)

    def truth(self, row: int) -> Any:
        """What lies in a picture, in its own pixels: see `truth` of what reads it."""
        assert self.targets is not None
        return self.targets.truth(self.origins[row])


def open_placed(
    source: Any,
    labels: Any = None,
    *,
    target: str,
    root: str | Path | None = None,
    size: int | None = None,
    sides: tuple[int, int] | None = None,
    channels: int = 3,
    reading: Reading | None = None,
    names: Sequence[str] = (),
) -> Placed:
    """Pictures of a folder, a glob, a file or the name of a folder below `root`; with labels, those of them that have some.

    labels: where boxes or masks lie (None: only pictures). target: "boxes" or "mask". size: the short side of pictures as they are stored (None: that
    of most of them, 240 at most); sides: their height and width instead. names: of the classes in order, where they are known before.
    Broken pictures are set aside. Raises UserError where there are no pictures, or labels do not fit them.
    """
    place, files, unused = listed(source, root, labels if READERS[target].are_pictures else None)
    folder, targets = Folder(place, tuple(files)), None
    if labels is not None:
        if not isinstance(labels, str | Path):
            raise UserError("labels of this task lie in files", where="labels", hint="give a file of boxes, or a folder of masks")
        targets = READERS[target].read(str(labels), place, files, names)
    rows = [row for row in range(len(files)) if targets is None or targets.there[row]]
    sources = dict(zip(rows, folder.sources(rows), strict=True))
    reading = reading or Reading()
    sides = sides or usual_sides(list(sources.values()), size)

    def decoded(row: int) -> Any:
        try:
            return decode_whole(sources[row], sides, channels, reading)
        except Unusable as reason:
            return str(reason)

    with quiet(), ThreadPoolExecutor() as pool:
        pictures = dict(zip(rows, pool.map(decoded, rows), strict=True))
    why = {row: result for row, result in pictures.items() if isinstance(result, str)}
    sizes = [(0, 0) if row in why or row not in pictures else pictures[row][1] for row in range(len(files))]
    if targets is not None:
        why |= targets.faults(sizes)
    kept = [row for row in rows if row not in why]
    if not kept:
        raise UserError(f"none of the {len(rows)} pictures can be used, the first because: {why[rows[0]]}", where=place)
    roles: dict[str, Any] = {"x": Pixels(torch.from_numpy(np.stack([pictures[row][0] for row in kept])), reading.to_dict())}
    if targets is not None:
        roles[target] = targets.laid_out(kept, sides, sizes)
    splits: Sequence[str | None] = folder.splits() if targets is None or targets.splits is None else targets.splits
    notes = [] if targets is None else list(targets.notes)
    if len(rows) < len(files):
        notes.append(f"{len(rows):,} of {len(files):,} pictures have labels")
    data = DataSet.of(
        place.resolve().name,
        Batch.of(**roles),
        splits=split_rows([splits[row] for row in kept]),
        class_names=() if targets is None else targets.names,
        files=[files[row] for row in kept],
        broken=[Broken(files[row], why[row]) for row in sorted(why)],
        unused=unused,
        notes=notes,
    )
    return Placed(data, tuple(sizes[row] for row in kept), targets, tuple(kept))


def listed(source: Any, root: str | Path | None, masks: Any) -> tuple[Path, list[str], list[str]]:
    """Where the pictures lie, their paths below, and what of it is not used.

    masks: a folder of masks, or the name of such folders, whose files are no pictures to read.
    """
    if not isinstance(source, str | Path):
        raise UserError("boxes and masks lie in picture files", where="data", hint="give a folder of pictures")
    path = Path(source).expanduser()
    if not path.exists() and len(path.parts) == 1 and (found := named.find_folder(str(source), named.data_root(root))) is not None:
        path = found
    if path.is_dir():
        place, names = path, folders.walk(path).files
    elif path.is_file():
        place, names = path.parent, [path.name]
    elif glob.has_magic(str(path)):
        place, names = folders.expand(str(path))
    else:
        raise UserError("no such file or folder", where=path)
    kinds = Kinds.of(place, names)
    files = list(kinds.pictures)
    if masks is not None:
        folder = Path(masks).expanduser().resolve()
        inside = folder.relative_to(place.resolve()).as_posix() + "/" if folder.is_dir() and folder.is_relative_to(place.resolve()) else None
        if inside is not None and folder != place.resolve():
            files = [file for file in files if not file.startswith(inside)]
        elif not folder.is_dir():
            files = [file for file in files if str(masks) not in PurePosixPath(file).parts[:-1]]
    if not files:
        raise UserError("there are no pictures here", where=source, hint=f"it holds {folders.kinds(names)}")
    return place, files, kinds.unused(files)


def usual_sides(sources: Sequence[Source], size: int | None) -> tuple[int, int]:
    """Height and width of the median picture, scaled so that its short side is `size`, or at most 240."""
    heights, widths = [], []
    with quiet():
        for source in sources:
            try:
                with opened(source) as file:
                    widths.append(file.size[0])
                    heights.append(file.size[1])
            except Unusable:
                continue
    if not heights:
        return (USUAL, USUAL)
    height, width = statistics.median_low(heights), statistics.median_low(widths)
    scale = (size or min(USUAL, height, width)) / min(height, width)
    return round(height * scale), round(width * scale)
