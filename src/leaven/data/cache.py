"""What is decoded once lies in a folder of the user's cache, up to a limit: built beside and renamed, safe in several processes at once."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Generic, TypeVar

import numpy as np

from leaven.data.sources.listing import Listing
from leaven.errors import UserError

FORMAT = 1
ABANDONED_SECONDS = 7 * 24 * 3600
LIMIT = "20GB"

Progress = Callable[[int, int], object]
Decoded = TypeVar("Decoded")


def cache_folder(cache_dir: str | Path | None = None) -> Path:
    """The argument, else LEAVEN_CACHE, else `leaven` in XDG_CACHE_HOME or ~/.cache."""
    if chosen := cache_dir or os.environ.get("LEAVEN_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "leaven"


def cache_limit() -> int:
    """Bytes that the cache folder may hold: LEAVEN_CACHE_LIMIT (a number with KB, MB, GB or TB), else 20 GB."""
    text = os.environ.get("LEAVEN_CACHE_LIMIT") or LIMIT
    size = re.fullmatch(r"([\d.]+) *([KMGT]?)B?", text.strip().upper())
    if size is None:
        raise UserError(f"LEAVEN_CACHE_LIMIT cannot be {text!r}", hint="give a size such as 20GB, or 0 to keep no pictures")
    return int(float(size[1]) * 1000 ** " KMGT".index(size[2] or " "))


class Entry(ABC, Generic[Decoded]):
    """One folder of the cache: the samples of one listing in one form.

    needed: bytes that it will take at most. noun, plural: what one of them, and several, are called in messages.
    """

    listing: Listing
    folder: Path
    noun: ClassVar[str]
    plural: ClassVar[str]

    @property
    @abstractmethod
    def needed(self) -> int: ...

    @abstractmethod
    def load(self) -> Decoded | None:
        """What the folder holds, or None when it is absent or damaged."""

    @abstractmethod
    def write(self, folder: Path, progress: Progress | None) -> list[tuple[int, str]]:
        """Decode everything into a folder. The rows that cannot be used, and why."""

    def build(self, limit: int, progress: Progress | None) -> Decoded:
        """Decode now. Samples that were not used for longest make room for new ones; where two processes build the same, the first wins.

        Raises UserError when no sample can be used, the disk is full or the cache folder cannot be written.
        """
        total = len(self.listing.names)
        parent = self.folder.parent
        building: Path | None = None
        try:
            parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(parent)
            _make_room(parent, limit - self.needed)
            if self.needed > shutil.disk_usage(parent).free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            building = Path(tempfile.mkdtemp(prefix=f".{self.folder.name[:8]}-", dir=parent))
            broken = self.write(building, progress)
            if len(broken) < total:
                self.publish(building)
        except OSError as error:
            what = "the disk is full" if error.errno == errno.ENOSPC else f"the {self.noun} cache cannot be written: {error.strerror or error}"
            room = f"{self.needed / 1e9:.1f} GB are needed" if self.needed else "a little room is needed"
            hint = f"{room}; set LEAVEN_CACHE to a folder with room, or LEAVEN_CACHE_LIMIT=0 to keep no {self.plural} there"
            raise UserError(what, where=parent, hint=hint) from error
        finally:
            if building is not None:
                shutil.rmtree(building, ignore_errors=True)
        if len(broken) == total:
            why = f"{self.listing.names[broken[0][0]]}: {broken[0][1]}"
            what = f"none of the {total} {self.plural} can be used, the first being {why}"
            raise UserError(what, where=self.listing.root, hint="check that the files are whole")
        published = self.load()
        if published is None:
            raise UserError(f"the {self.noun} cache was damaged while it was written", where=self.folder, hint="try again")
        return published

    def publish(self, building: Path) -> None:
        """Rename into place; where another process was first its folder stays, and a damaged one is moved out of the way."""
        while True:
            try:
                building.rename(self.folder)
                return
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise
            if self.load() is not None:
                return
            with contextlib.suppress(FileNotFoundError):
                aside = self.folder.with_name(f"{building.name}-damaged")
                self.folder.rename(aside)
                shutil.rmtree(aside, ignore_errors=True) if aside.is_dir() else aside.unlink()

    def write_meta(self, folder: Path, **meta: Any) -> None:
        source = os.fsencode(self.listing.root).decode(errors="replace")
        (folder / "meta.json").write_text(json.dumps({"format": FORMAT, "source": source, **meta}))

    def read_meta(self) -> dict[str, Any]:
        """Raises OSError or ValueError where there is none. It counts as used now."""
        meta: dict[str, Any] = json.loads((self.folder / "meta.json").read_text())
        os.utime(self.folder / "meta.json")
        return meta


def write_header(stream: BinaryIO, shape: Sequence[int], dtype: np.dtype) -> int:
    """The head of a .npy file; where it ends."""
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype.str, "fortran_order": False, "shape": tuple(shape)})
    return stream.tell()


def rewrite_header(stream: BinaryIO, shape: Sequence[int], dtype: np.dtype, start: int) -> None:
    """The same with the final shape, once it is known."""
    stream.seek(0)
    if write_header(stream, shape, dtype) != start:
        raise RuntimeError("the header of a .npy file changed its length")


def _remove_abandoned(parent: Path) -> None:
    for left in parent.glob(".*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(left)


def _make_room(parent: Path, room: int) -> None:
    """Remove the samples that were not used for longest, of whatever kind, until the others take at most `room` bytes."""
    used = {}
    for meta in parent.parent.glob("*/[!.]*/meta.json"):
        with contextlib.suppress(OSError):
            used[meta.parent] = meta.stat().st_mtime, sum(array.stat().st_size for array in meta.parent.glob("*.npy"))
    total = sum(size for _, size in used.values())
    for folder, (_, size) in sorted(used.items(), key=lambda item: item[1][0]):
        if total <= room:
            break
        shutil.rmtree(folder, ignore_errors=True)  # whoever has it mapped keeps it
        total -= size
