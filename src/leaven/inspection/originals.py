"""The picture files that samples came from: their formats and sizes, and how long decoding them takes."""

import contextlib
import os
import time
from collections import Counter
from typing import Any

import numpy as np

from leaven.data import DataSet
from leaven.data.undecoded import decoders
from leaven.modalities.content import content_hash, evenly_spaced
from leaven.modalities.decoding import Stored, decode
from leaven.modalities.picture_files import Source, Unusable, opened, quiet

HEADERS = 4096
DECODED, DECODED_TOGETHER, DECODING_SECONDS = 512, 16, 1.0


def originals(data: DataSet) -> list[Source]:
    """Up to 4,096 of the picture files (512 of a table, which is read in order), evenly spaced; none where the samples were arrays."""
    return [] if data.listing is None else list(data.listing.sample(HEADERS))


def headers(sources: list[Source]) -> tuple[dict[str, int], dict[str, Any] | None]:
    """(pictures by format, sizes) of what their headers say: read, and min, median and max of width and height in pixels; None for no pictures."""
    formats: Counter[str] = Counter()
    sides = []
    with quiet():
        for source in sources:
            with contextlib.suppress(Unusable), opened(source) as file:  # what has gone since it was decoded is not counted
                formats[file.format] += 1
                sides.append(file.size)
    if not sides:
        return {}, None
    sizes: dict[str, Any] = {"read": len(sides)}
    for name, values in zip(("width", "height"), np.array(sides).T, strict=True):
        sizes[name] = {"min": int(values.min()), "median": int(np.median(values)), "max": int(values.max())}
    return dict(formats.most_common()), sizes


def decoding_seconds(sources: list[Source], count: int, form: Stored) -> float:
    """How long decoding `count` pictures takes on all cores, from decoding up to 512 of them, for about a second."""

    def work(part: list[Source]) -> None:
        for source in part:
            with contextlib.suppress(Unusable):  # it has changed since it was opened
                content_hash(decode(source, form).tobytes())

    with quiet():
        begin = time.perf_counter()
        work(sources[:1])
        fit = int((os.cpu_count() or 1) * DECODING_SECONDS / (time.perf_counter() - begin))
        chosen = [sources[row] for row in evenly_spaced(len(sources), min(DECODED, max(8, fit)))]
        begin = time.perf_counter()
        list(decoders().map(work, (chosen[start : start + DECODED_TOGETHER] for start in range(0, len(chosen), DECODED_TOGETHER))))
    return (time.perf_counter() - begin) / len(chosen) * count
