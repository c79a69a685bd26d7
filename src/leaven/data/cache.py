"""Pictures decoded once into a memory-mapped file in the user's cache folder; beyond its limit, only their hashes and which of them are broken."""

import contextlib
import errno
import itertools
import json
import os
import re
import shutil
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from leaven.data.sources.listing import Listing, Part
from leaven.data.undecoded import Undecoded
from leaven.errors import DAMAGED_ARRAY, UserError
from leaven.modalities import Pixels
from leaven.modalities.content import content_hash, digest, evenly_spaced
from leaven.modalities.decoding import Stored, decode
from leaven.modalities.picture_files import Source, Unusable, quiet

FORMAT = 1
CHUNK = 64
ABANDONED_SECONDS = 7 * 24 * 3600
LIMIT = "20GB"

Progress = Callable[[int, int], object]


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


def stored(listing: Listing, form: Stored, *, cache_dir: str | Path | None = None, progress: Progress | None = None) -> Part:
    """The listing's pictures in this form, mapped read-only: decoded now, or found in the cache.

    Where they would take more than the cache's limit, each is decoded once to find the broken ones, and again whenever it is selected. Pictures that
    were not used for longest make room for new ones. Safe in several processes at once: each builds beside and renames, the first wins.
    Raises UserError when no picture can be used, the disk is full or the cache folder cannot be written.
    """
    limit = cache_limit()
    keep = len(listing.names) * form.nbytes <= limit
    name = digest((FORMAT, form, keep, listing.identity()))
    entry = Entry(listing, form, keep, cache_folder(cache_dir) / "pictures" / name)
    return entry.load() or entry.build(limit, progress)


@dataclass(frozen=True, eq=False)
class Entry:
    """One folder of the cache: the pictures of one listing in one form. keep: with their pixels."""

    listing: Listing
    form: Stored
    keep: bool
    folder: Path

    def load(self) -> Part | None:
        """What the folder holds, or None when it is absent or damaged."""
        total = len(self.listing.names)
        try:
            meta = json.loads((self.folder / "meta.json").read_text())
            hashes, kept = np.load(self.folder / "hashes.npy"), np.load(self.folder / "kept.npy")
            broken = tuple((int(row), str(why)) for row, why in meta["broken"])
            whole = meta["format"] == FORMAT and len(hashes) == len(kept) == total - len(broken)
            if self.keep:
                pixels = np.load(self.folder / "pixels.npy", mmap_mode="r")
                whole = (
                    whole
                    and pixels.shape == (len(kept), *self.form.shape)
                    and pixels.dtype == self.form.dtype
                    and all(content_hash(pixels[row].tobytes()) == hashes[row] for row in evenly_spaced(len(kept), 16))
                )
            os.utime(self.folder / "meta.json")  # used now
        except (*DAMAGED_ARRAY, TypeError):
            return None
        if not whole:
            return None
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*not writable.*")
            samples: Any = torch.from_numpy(pixels) if self.keep else Undecoded(self.listing, kept, self.form)
        return Part(Pixels(samples, self.form.reading.to_dict()), kept, broken, torch.from_numpy(hashes))

    def build(self, limit: int, progress: Progress | None) -> Part:
        total = len(self.listing.names)
        needed = total * self.form.nbytes if self.keep else 0
        parent = self.folder.parent
        building: Path | None = None
        try:
            parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(parent)
            _make_room(parent, limit - needed)
            if needed > shutil.disk_usage(parent).free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            building = Path(tempfile.mkdtemp(prefix=f".{self.folder.name[:8]}-", dir=parent))
            broken = self.write(building, progress)
            if len(broken) < total:
                self.publish(building)
        except OSError as error:
            what = "the disk is full" if error.errno == errno.ENOSPC else f"the picture cache cannot be written: {error.strerror or error}"
            room = f"{needed / 1e9:.1f} GB are needed" if needed else "a little room is needed"
            hint = f"{room}; set LEAVEN_CACHE to a folder with room, or LEAVEN_CACHE_LIMIT=0 to keep no pictures there"
            raise UserError(what, where=parent, hint=hint) from error
        finally:
            if building is not None:
                shutil.rmtree(building, ignore_errors=True)
        if len(broken) == total:
            why = f"{self.listing.names[broken[0][0]]}: {broken[0][1]}"
            what = f"none of the {total} pictures can be used, the first being {why}"
            raise UserError(what, where=self.listing.root, hint="check that the files are whole")
        published = self.load()
        if published is None:
            raise UserError("the picture cache was damaged while it was written", where=self.folder, hint="try again")
        return published

    def write(self, folder: Path, progress: Progress | None) -> list[tuple[int, str]]:
        """Decode in threads, write in order. Plain writes, not a memory map, so that a full disk is an error and not a crash."""
        hashes: list[int] = []
        broken: list[tuple[int, str]] = []
        total = len(self.listing.names)
        target = folder / "pixels.npy" if self.keep else Path(os.devnull)
        with target.open("wb") as stream, contextlib.closing(_decoded(self.listing, self.form)) as results:
            start = _write_header(stream, total, self.form)
            for row, result in enumerate(results):
                if isinstance(result, str):
                    broken.append((row, result))
                else:
                    data, content = result
                    stream.write(data)
                    hashes.append(content)
                if progress is not None and ((row + 1) % CHUNK == 0 or row + 1 == total):
                    progress(row + 1, total)
            if self.keep:
                stream.seek(0)
                if _write_header(stream, len(hashes), self.form) != start:
                    raise RuntimeError("the header of pixels.npy changed its length")
        np.save(folder / "hashes.npy", np.array(hashes, np.int64))
        np.save(folder / "kept.npy", np.delete(np.arange(total), [row for row, _ in broken]))
        meta = {"format": FORMAT, "source": os.fsencode(self.listing.root).decode(errors="replace"), "broken": broken}
        (folder / "meta.json").write_text(json.dumps(meta))
        return broken

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


def _write_header(stream: BinaryIO, count: int, form: Stored) -> int:
    np.lib.format.write_array_header_1_0(stream, {"descr": form.dtype.str, "fortran_order": False, "shape": (count, *form.shape)})
    return stream.tell()


def _decoded(listing: Listing, form: Stored) -> Generator[tuple[bytes, int] | str, None, None]:
    """Each picture's bytes and hash, or why it cannot be used, in order; with few of them in memory at a time."""

    def work(sources: list[Source]) -> list[tuple[bytes, int] | str]:
        results: list[tuple[bytes, int] | str] = []
        for source in sources:
            try:
                data = decode(source, form).tobytes()
                results.append((data, content_hash(data)))
            except Unusable as reason:
                results.append(str(reason))
        return results

    workers, chunks = os.cpu_count() or 1, listing.chunks(CHUNK)
    with quiet(), contextlib.ExitStack() as stack:
        pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        stack.callback(pool.shutdown, cancel_futures=True)
        waiting = deque(pool.submit(work, sources) for sources in itertools.islice(chunks, 2 * workers))
        while waiting:
            yield from waiting.popleft().result()
            waiting.extend(pool.submit(work, sources) for sources in itertools.islice(chunks, 1))


def _remove_abandoned(parent: Path) -> None:
    for left in parent.glob(".*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(left)


def _make_room(parent: Path, room: int) -> None:
    """Remove the pictures that were not used for longest, until the others take at most `room` bytes."""
    used = {}
    for pixels in parent.glob("[!.]*/pixels.npy"):
        with contextlib.suppress(OSError):
            used[pixels.parent] = (pixels.parent / "meta.json").stat().st_mtime, pixels.stat().st_size
    total = sum(size for _, size in used.values())
    for folder, (_, size) in sorted(used.items(), key=lambda item: item[1][0]):
        if total <= room:
            break
        shutil.rmtree(folder, ignore_errors=True)  # whoever has it mapped keeps it
        total -= size
