"""Numbered pictures as a recording: each is a moment, and its pixels are the channels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from leaven.modalities.picture_files import PictureFile, opened
from leaven.modalities.picture_files import Unusable as UnusablePicture
from leaven.modalities.recording_files import RecordingFile, Unusable


@dataclass(frozen=True)
class FrameRun:
    """Pictures that follow each other without a gap. side: pixels of the shorter side, to which all are shrunk."""

    files: tuple[Path, ...]
    side: int


class FrameFile(RecordingFile):
    """A run of frames, in grey from 0 to 1. Frames of another shape than the first one are stretched to it."""

    format, rate = "pictures", 0.0

    def __init__(self, run: FrameRun):
        self.run, self.length = run, len(run.files)
        with frame_of(run.files[0]) as first:
            width, height = first.size
        scale = min(1.0, run.side / min(width, height))
        self.width, self.height = max(1, round(width * scale)), max(1, round(height * scale))
        self.channels = tuple(f"row {row} column {column}" for row in range(self.height) for column in range(self.width))

    def read(self, start: int, stop: int) -> np.ndarray:
        frames = [self.frame(file) for file in self.run.files[start : min(stop, self.length)]]
        return np.stack(frames, 1) if frames else np.zeros((len(self.channels), 0), np.float32)

    def frame(self, file: Path) -> np.ndarray:
        with frame_of(file) as picture:
            pixels = picture.load(picture.pages[0], self.run.side)
            if not isinstance(pixels, Image.Image):
                raise Unusable(f"{file.name}: frames have 8 bits per colour")
            return np.asarray(pixels.convert("L").resize((self.width, self.height), Image.Resampling.BOX), np.float32).ravel() / 255

    def close(self) -> None: ...


@contextmanager
def frame_of(file: Path) -> Iterator[PictureFile]:
    """An open picture; Unusable names it, since it is one of many in its recording."""
    try:
        with opened(file) as picture:
            yield picture
    except UnusablePicture as reason:
        raise Unusable(f"{file.name}: {reason}") from None
