"""The picture files that samples came from: their formats and sizes, and how long decoding them takes."""

from __future__ import annotations

import contextlib
import glob
import io
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from leaven.data import DataSet
from leaven.data.content import content_hash, evenly_spaced
from leaven.data.folders import Folder, expand
from leaven.data.listing import Listing
from leaven.data.named import data_root, find_folder
from leaven.data.pictures import FORMATS, Source, Unusable, decode, quiet
from leaven.data.tables import Table
from leaven.data.undecoded import decoders

HEADERS = 4096
DECODED, DECODED_TOGETHER, DECODING_SECONDS = 512, 16, 1.0


def originals(source: Any, data: DataSet, *, root: str | Path | None = None, column: str | None = None) -> list[Source]:
    """Up to 4,096 of the usable picture files (512 of a table), evenly spaced; none where the samples were arrays.

    source, root, column: what `data` was opened from.
    """
    listing = _listing(source, data, root, column)
    if listing is None:
        return []
    return list(listing.sample()) if isinstance(listing, Table) else listing.sources(evenly_spaced(len(listing.names), HEADERS).tolist())


def _listing(source: Any, data: DataSet, root: str | Path | None, column: str | None) -> Listing | None:
    if isinstance(source, list | tuple) and source and all(isinstance(item, str | os.PathLike) for item in source):
        return Folder(Path(), data.files)
    place = _place(source, root)
    if place is None:
        return None
    files = tuple(dict.fromkeys(name.rpartition("#")[0] for name in data.files))
    if files[0].lower().endswith((".parquet", ".pq")):
        table = Table(place, files)
        return Table(place, files, column or table.picture_columns()[0])
    return Folder(place, data.files) if (place / data.files[0]).is_file() else None


def _place(source: Any, root: str | Path | None) -> Path | None:
    """The folder that the files of a data set are named in."""
    if not isinstance(source, str | os.PathLike):
        return None
    path = Path(source).expanduser()
    if path.exists():
        return path if path.is_dir() else path.parent
    return expand(str(path))[0] if glob.has_magic(str(source)) else find_folder(str(source), data_root(root))


def headers(sources: list[Source]) -> tuple[dict[str, int], dict[str, Any] | None]:
    """(pictures by format, sizes) of what their headers say: read, and min, median and max of width and height in pixels; None for no pictures."""
    Image.init()
    known = [name for name in FORMATS if name in Image.OPEN]
    formats: Counter[str] = Counter()
    sides = []
    with quiet():
        for source in sources:
            with contextlib.suppress(Exception), _opened(source, known) as picture:  # what has gone since it was decoded is not counted
                formats[picture.format or "?"] += 1
                sides.append(picture.size)
    if not sides:
        return {}, None
    sizes: dict[str, Any] = {"read": len(sides)}
    for name, values in zip(("width", "height"), np.array(sides).T, strict=True):
        sizes[name] = {"min": int(values.min()), "median": int(np.median(values)), "max": int(values.max())}
    return dict(formats.most_common()), sizes


def _opened(source: Source, formats: list[str]) -> Image.Image:
    if isinstance(source, Image.Image):
        return source
    return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=formats)


def decoding_seconds(sources: list[Source], count: int, side: int, channels: int) -> float:
    """How long decoding `count` pictures takes on all cores, from decoding up to 512 of them, for about a second."""

    def work(part: list[Source]) -> None:
        for source in part:
            with contextlib.suppress(Unusable):  # it has changed since it was opened
                content_hash(decode(source, side, channels).tobytes())

    with quiet():
        begin = time.perf_counter()
        work(sources[:1])
        fit = int((os.cpu_count() or 1) * DECODING_SECONDS / (time.perf_counter() - begin))
        chosen = [sources[row] for row in evenly_spaced(len(sources), min(DECODED, max(8, fit)))]
        begin = time.perf_counter()
        list(decoders().map(work, (chosen[start : start + DECODED_TOGETHER] for start in range(0, len(chosen), DECODED_TOGETHER))))
    return (time.perf_counter() - begin) / len(chosen) * count
