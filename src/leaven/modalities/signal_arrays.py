"""Arrays of signals: .npy, and .npz with what it says of their rate, channels, labels and markers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from leaven.errors import DAMAGED_ARRAY
from leaven.modalities.recording_files import Event, RecordingFile, Unusable
from leaven.modalities.signal_files import channel_name, runs, unique

RATES = ("fs", "sfreq", "rate", "sampling_rate", "sample_rate", "srate", "sr")
SAMPLES = ("x", "data", "signal", "signals", "eeg", "samples", "X")
LABELS = ("y", "label", "labels")
CHANNELS = ("channels", "ch_names", "channel_names")
MARKERS = ("marker", "markers", "stim", "trigger")
BESIDE = ("split", "group")  # of each row
ABOUT = (*RATES, *LABELS, *CHANNELS, *MARKERS, "sets", "names", "subject", "session", *BESIDE)
MOST_CHANNELS = 256


@dataclass(frozen=True)
class SignalArray:
    """What a file of arrays holds. samples: (N, C, T), where each row is a recording, or (1, C, T). rate: None where it does not say. labels: one for
    each row. beside: what else is said of each row: its split, its group. marker: (T,) of the one recording. layout: "samples" or "recording"."""

    samples: np.ndarray
    rate: float | None
    channels: tuple[str, ...]
    labels: list[Any] | None
    events: tuple[Event, ...]
    header: dict[str, str]
    layout: str
    unused: tuple[str, ...]
    beside: Mapping[str, list[Any]]


def names_in(path: Path) -> tuple[str, ...]:
    """The arrays of an .npz file; none where it is damaged."""
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(name.removesuffix(".npy") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return ()


def says_its_rate(path: Path) -> bool:
    """Whether an .npz file is one of signals."""
    names = names_in(path)
    return any(name in RATES for name in names) and any(name in SAMPLES for name in names)


ONE_HEADER = Lock()  # numpy parses a header as Python, and Python 3.11 may fail where two threads parse at once


@lru_cache(maxsize=2)
def read_signal_array(path: Path, layout: str, changed: int) -> SignalArray:
    """changed: the time of the file's last change, so that it is read anew. A .npy file is mapped, an .npz file unpacked. Raises Unusable."""
    try:
        with ONE_HEADER:
            loaded = np.load(path, mmap_mode="r" if path.suffix.lower() == ".npy" else None)
            arrays = {"x": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except (*DAMAGED_ARRAY, NotImplementedError) as error:
        raise Unusable(f"not a whole array: {error}") from None
    name = next((name for name in SAMPLES if name in arrays), None)
    if name is None:
        raise Unusable(f"none of its arrays is called {' or '.join(SAMPLES)}")
    samples = arrays[name]
    if samples.dtype.kind not in "iuf" or not 1 <= samples.ndim <= 3 or 0 in samples.shape:
        raise Unusable(f"an array of {samples.dtype} of shape {samples.shape} holds no signals")
    rate = next((float(np.ravel(arrays[key])[0]) for key in RATES if key in arrays and np.size(arrays[key])), None)
    if rate is not None and not rate > 0:
        raise Unusable(f"its rate is {rate:g} Hz")
    names = next((tuple(str(item) for item in np.ravel(arrays[key])) for key in CHANNELS if key in arrays), ())
    marker = next((np.ravel(arrays[key]) for key in MARKERS if key in arrays), None)
    y = next((arrays[key] for key in LABELS if key in arrays), None)
    samples, layout = laid_out(samples, layout, len(names), None if marker is None else len(marker), None if y is None else np.size(y))
    time = samples.shape[2]
    events: tuple[Event, ...] = ()
    if layout == "recording" and marker is not None and len(marker) == time:
        events = tuple(runs(marker, rate or 1.0))
    elif layout == "recording" and y is not None and np.size(y) == time:
        events = tuple(runs(np.ravel(y), rate or 1.0, zero=True))
    labels = np.ravel(y).tolist() if y is not None and np.size(y) == len(samples) else None
    channels = unique([channel_name(item) for item in names]) if len(names) == samples.shape[1] else tuple(
        f"channel {number}" for number in range(1, samples.shape[1] + 1)
    )  # fmt: skip
    header = {key: str(np.ravel(arrays[key])[0]) for key in ("subject", "session") if key in arrays and np.size(arrays[key]) == 1}
    unused = tuple(key for key in arrays if key not in (name, *ABOUT))
    beside = {key: arrays[key].tolist() for key in BESIDE if key in arrays and arrays[key].shape == (len(samples),)}
    return SignalArray(samples, rate, channels, labels, events, header, layout, unused, beside)


def laid_out(samples: np.ndarray, layout: str, channels: int, marked: int | None, labels: int | None) -> tuple[np.ndarray, str]:
    """(N, C, T). In two dimensions, an array is one recording where it has as many rows or columns as there are names of channels or markers, or as
    few as channels may be and no label for each; else each row is a sample."""
    if samples.ndim == 3:
        return samples, "samples"
    if samples.ndim == 1:
        return samples[None, None], "recording"
    rows, columns = samples.shape
    if layout == "auto":
        told = (channels in (rows, columns) and channels > 0) or marked in (rows, columns)
        few = min(rows, columns) <= MOST_CHANNELS and labels != rows
        layout = "recording" if told or few else "samples"
    if layout == "samples":
        return samples[:, None], layout
    across = (
        (columns == channels and rows != channels) or (rows == marked and columns != marked) or (not channels and marked is None and columns < rows)
    )
    return (samples.T if across else samples)[None], layout


class ArrayFile(RecordingFile):
    """One row of a file of arrays."""

    format = "NPY"

    def __init__(self, path: Path, number: int, layout: str):
        try:
            array = read_signal_array(path, layout, path.stat().st_mtime_ns)
        except OSError as error:
            raise Unusable(f"it cannot be read: {error.strerror}") from None
        self.samples, self.channels, self.events, self.header = array.samples[number], array.channels, array.events, array.header
        self.rate, self.length = array.rate or 0.0, self.samples.shape[1]

    def read(self, start: int, stop: int) -> np.ndarray:
        return np.asarray(self.samples[:, start:stop], np.float32)

    def close(self) -> None:
        del self.samples
