"""Sound files, as libsndfile reads them: wav, flac, ogg, mp3, aiff and others."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from leaven.errors import UserError, not_installed
from leaven.modalities.recording_files import RecordingFile, Unusable

SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".aifc", ".au", ".snd", ".w64", ".caf", ".rf64")
UNREAD_SOUNDS = (".m4a", ".aac", ".wma", ".amr", ".ape", ".mka", ".ra", ".mp4", ".wv")
SHALLOW = {"PCM_16", "PCM_S8", "PCM_U8", "ULAW", "ALAW", "VORBIS", "OPUS", "IMA_ADPCM", "MS_ADPCM", "GSM610", "ALAC_16"}


def is_sound_file(name: Any) -> bool:
    """By its ending."""
    return isinstance(name, str | Path) and str(name).lower().endswith(SOUNDS)


class SoundFile(RecordingFile):
    """What libsndfile reads."""

    def __init__(self, file: Any):
        self.file = file
        self.format, self.rate, self.length = file.format, float(file.samplerate), file.frames
        self.channels = tuple(f"channel {number}" for number in range(1, file.channels + 1))
        self.deep = file.subtype not in SHALLOW and not file.subtype.startswith("MPEG")

    def read(self, start: int, stop: int) -> np.ndarray:
        if self.file.tell() != start:
            self.file.seek(start)
        samples: np.ndarray = self.file.read(stop - start, dtype="float32", always_2d=True)
        if len(samples) < stop - start:
            raise Unusable(f"it ends after {(start + len(samples)) / self.rate:.2f} s of {self.length / self.rate:.2f}")
        return samples.T

    def close(self) -> None:
        self.file.close()


@contextmanager
def opened_sound(source: Path | bytes) -> Iterator[SoundFile]:
    """An open sound. Raises Unusable with the reason, also for whatever libsndfile raises while it is open; UserError where soundfile is missing."""
    try:
        import soundfile
    except ImportError:
        raise not_installed("soundfile") or UserError("sound needs the package soundfile", hint="pip install soundfile") from None
    try:
        with soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else str(source)) as file:
            yield SoundFile(file)
    except (soundfile.SoundFileError, OSError, RuntimeError, EOFError) as error:
        raise Unusable(f"not a whole sound file: {str(error).rpartition(': ')[2].rstrip('.')}") from None
