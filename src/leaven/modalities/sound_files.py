"""Sound files, as libsndfile reads them: wav, flac, ogg, mp3, aiff and others."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from leaven.errors import UserError, not_installed
from leaven.modalities.recording_files import BLOCK, RecordingFile, Unusable

SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".aifc", ".au", ".snd", ".w64", ".caf", ".rf64")
UNREAD_SOUNDS = (".m4a", ".aac", ".wma", ".amr", ".ape", ".mka", ".ra", ".mp4", ".wv")
SHOULD_BE = re.compile(r"data *: *(\d+) *\(should be (\d+)\)")  # as libsndfile notes a header that does not fit the file
OVERSHOOT = 2.0  # up to which floats are taken for sound that a decoder or a mixer made a little too loud
SCALES = (2**7, 2**15, 2**23, 2**31)  # of whole numbers that were saved as floats
PIECE = 4096  # samples that are decoded together where a file is damaged
SHALLOW = {"PCM_16", "PCM_S8", "PCM_U8", "ULAW", "ALAW", "VORBIS", "OPUS", "IMA_ADPCM", "MS_ADPCM", "GSM610", "ALAC_16"}


def is_sound_file(name: Any) -> bool:
    """By its ending."""
    return isinstance(name, str | Path) and str(name).lower().endswith(SOUNDS)


def begins_as_sound(content: bytes) -> bool:
    """By its first bytes: RIFF, FLAC, Ogg, AIFF, MP3."""
    head = content[:12]
    return head[:4] in (b"fLaC", b"OggS", b"RF64") or (head[:4] in (b"RIFF", b"FORM") and head[8:] in (b"WAVE", b"AIFF", b"AIFC")) or (
        head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2)
    )  # fmt: skip


class SoundFile(RecordingFile):
    """What libsndfile reads."""

    def __init__(self, file: Any):
        self.file = file
        self.format, self.rate, self.length = file.format, float(file.samplerate), file.frames
        self.channels = tuple(f"channel {number}" for number in range(1, file.channels + 1))
        self.deep = file.subtype not in SHALLOW and not file.subtype.startswith("MPEG")
        if cut := SHOULD_BE.search(file.extra_info):
            self.notes = (f"its header says {int(cut[1]):,} bytes of sound, and {int(cut[2]):,} are there",)

    @cached_property
    def scale(self) -> float:
        """What its loudest becomes 1 by: whole numbers that were saved as floats have another scale than sound."""
        if self.file.subtype not in ("FLOAT", "DOUBLE"):
            return 1.0
        self.file.seek(0)
        peaks = [np.abs(np.nan_to_num(block, nan=0, posinf=0, neginf=0)).max() for block in self.file.blocks(BLOCK, dtype="float32") if block.size]
        peak = float(max(peaks, default=0.0))
        return 1.0 if peak <= OVERSHOOT else next((float(scale) for scale in SCALES if peak <= scale), peak)

    def read(self, start: int, stop: int) -> np.ndarray:
        if self.file.tell() != start:
            self.file.seek(start)
        try:
            samples: np.ndarray = self.file.read(stop - start, dtype="float32", always_2d=True)
        except RuntimeError:  # of libsndfile, where a compressed file ends too early
            samples = self.as_far_as_it_goes(start, stop)
        return (samples if self.scale == 1 else samples / self.scale).clip(-1, 1).T

    def as_far_as_it_goes(self, start: int, stop: int) -> np.ndarray:
        """(time, channels) float32 up to what cannot be decoded."""
        parts = []
        for place in range(start, stop, PIECE):
            try:
                self.file.seek(place)
                parts.append(self.file.read(min(PIECE, stop - place), dtype="float32", always_2d=True))
            except RuntimeError:
                break
        return np.concatenate(parts) if parts else np.zeros((0, len(self.channels)), np.float32)

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
