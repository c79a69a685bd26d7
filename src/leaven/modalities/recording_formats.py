"""Which files are recordings, and what opens them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from leaven.modalities.frame_files import FrameFile, FrameRun
from leaven.modalities.recording_files import RecordingFile
from leaven.modalities.signal_arrays import ArrayFile
from leaven.modalities.signal_files import opened_signal
from leaven.modalities.sound_files import SOUNDS, opened_sound

ARRAYS = (".npy", ".npz")


@dataclass(frozen=True)
class ArrayRow:
    """One row of a file of arrays, from 0. layout: see `RecordingReading`."""

    file: Path
    number: int = 0
    layout: str = "auto"


RecordingSource = Path | bytes | ArrayRow | FrameRun


@contextmanager
def opened_recording(source: RecordingSource) -> Iterator[RecordingFile]:
    """An open recording. Raises Unusable with the reason; UserError where a package is missing."""
    if isinstance(source, ArrayRow):
        file = ArrayFile(source.file, source.number, source.layout)
        yield file
        file.close()
    elif isinstance(source, FrameRun):
        yield FrameFile(source)
    elif isinstance(source, bytes) or source.name.lower().endswith(SOUNDS):
        with opened_sound(source) as sound:
            yield sound
    elif source.suffix.lower() in ARRAYS:
        file = ArrayFile(source, 0, "recording")
        yield file
        file.close()
    else:
        with opened_signal(source) as signal:
            yield signal


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what readers print about damaged files: Leaven lists these files itself. Only one thread at a time may use it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
