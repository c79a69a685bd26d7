"""Pictures decoded once into a memory-mapped file in the user's cache folder."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import shutil
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import torch
from torch import Tensor

from leaven.data.content import content_hash, evenly_spaced
from leaven.data.pictures import Source, Unusable, decode, quiet
from leaven.errors import UserError

FORMAT = 1
CHUNK = 64
ABANDONED_SECONDS = 7 * 24 * 3600

Progress = Callable[[int, int], object]


class Listing(Protocol):
    """Pictures that lie somewhere: their names, an identity that changes with them, and a way to read them in order."""

    @property
    def root(self) -> Path: ...
    @property
    def names(self) -> Sequence[str]: ...
    def identity(self) -> str: ...
    def chunks(self, size: int) -> Iterator[list[Source]]: ...


@dataclass(frozen=True, eq=False)
class Stored:
    """pixels: (N, C, S, S) uint8, read-only; hashes: (N,) int64; kept: (N,) rows of the listing; broken: the other rows, and why."""

    pixels: Tensor
    hashes: Tensor
    kept: np.ndarray
    broken: tuple[tuple[int, str], ...]


def cache_folder(cache_dir: str | Path | None = None) -> Path:
    """The argument, else LEAVEN_CACHE, else `leaven` in XDG_CACHE_HOME or ~/.cache."""
    if chosen := cache_dir or os.environ.get("LEAVEN_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "leaven"


def stored(listing: Listing, side: int, channels: int, *, cache_dir: str | Path | None = None, progress: Progress | None = None) -> Stored:
    """The listing's pictures at (channels, side, side), decoded now or found in the cache.

    Safe in several processes at once: each builds beside and renames, the first wins. Raises UserError when no picture can be used, the disk is
    full or the cache folder cannot be written.
    """
    digest = hashlib.blake2b(repr((FORMAT, side, channels)).encode(), digest_size=16)
    digest.update(listing.identity().encode(errors="surrogateescape"))
    folder = cache_folder(cache_dir) / "pictures" / digest.hexdigest()
    found = _load(folder, side, channels, len(listing.names))
    return found or _build(listing, side, channels, folder, progress)


def _load(folder: Path, side: int, channels: int, total: int) -> Stored | None:
    """What the folder holds, or None when it is absent or damaged."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
        pixels = np.load(folder / "pixels.npy", mmap_mode="r")
        hashes, kept = np.load(folder / "hashes.npy"), np.load(folder / "kept.npy")
        broken = tuple((int(row), str(why)) for row, why in meta["broken"])
        whole = (
            meta["format"] == FORMAT
            and pixels.shape == (len(kept), channels, side, side)
            and pixels.dtype == np.uint8
            and len(hashes) == len(kept) == total - len(broken)
            and all(content_hash(pixels[row].tobytes()) == hashes[row] for row in evenly_spaced(len(kept), 16))
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    if not whole:
        return None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return Stored(torch.from_numpy(pixels), torch.from_numpy(hashes), kept, broken)


def _build(listing: Listing, side: int, channels: int, folder: Path, progress: Progress | None) -> Stored:
    total = len(listing.names)
    needed = total * channels * side * side
    building: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder.parent)
        if needed > shutil.disk_usage(folder.parent).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        building = Path(tempfile.mkdtemp(prefix=f".{folder.name[:8]}-", dir=folder.parent))
        broken = _write(listing, side, channels, building, progress)
        if len(broken) < total:
            _publish(building, folder, side, channels, total)
    except OSError as error:
        hint = f"{needed / 1e9:.1f} GB are needed; set LEAVEN_CACHE to a folder with room, or choose a smaller size"
        what = "the disk is full" if error.errno == errno.ENOSPC else f"the picture cache cannot be written: {error.strerror or error}"
        raise UserError(what, where=folder.parent, hint=hint) from error
    finally:
        if building is not None:
            shutil.rmtree(building, ignore_errors=True)
    if len(broken) == total:
        why = f"{listing.names[broken[0][0]]}: {broken[0][1]}"
        raise UserError(f"none of the {total} pictures can be used, the first being {why}", where=listing.root, hint="check that the files are whole")
    found = _load(folder, side, channels, total)
    if found is None:
        raise UserError("the picture cache was damaged while it was written", where=folder, hint="try again")
    return found


def _write(listing: Listing, side: int, channels: int, folder: Path, progress: Progress | None) -> list[tuple[int, str]]:
    """Decode in threads, write in order. Plain writes, not a memory map, so that a full disk is an error and not a crash."""
    hashes: list[int] = []
    kept: list[int] = []
    broken: list[tuple[int, str]] = []
    total, done = len(listing.names), 0
    with (folder / "pixels.npy").open("wb") as stream, contextlib.closing(_decoded(listing, side, channels)) as chunks:
        start = _write_header(stream, (total, channels, side, side))
        for results in chunks:
            for row, result in enumerate(results, start=done):
                if isinstance(result, str):
                    broken.append((row, result))
                else:
                    data, content = result
                    stream.write(data)
                    hashes.append(content)
                    kept.append(row)
            done += len(results)
            if progress is not None:
                progress(done, total)
        stream.seek(0)
        if _write_header(stream, (len(kept), channels, side, side)) != start:
            raise RuntimeError("the header of pixels.npy changed its length")
    np.save(folder / "hashes.npy", np.array(hashes, np.int64))
    np.save(folder / "kept.npy", np.array(kept, np.int64))
    meta = {"format": FORMAT, "source": os.fsencode(listing.root).decode(errors="replace"), "broken": broken}
    (folder / "meta.json").write_text(json.dumps(meta))
    return broken


def _write_header(stream: BinaryIO, shape: tuple[int, ...]) -> int:
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return stream.tell()


def _decoded(listing: Listing, side: int, channels: int) -> Generator[list[tuple[bytes, int] | str], None, None]:
    """Decoded chunks in order, with few of them in memory at a time."""

    def work(sources: list[Source]) -> list[tuple[bytes, int] | str]:
        results: list[tuple[bytes, int] | str] = []
        for source in sources:
            try:
                data = decode(source, side, channels).tobytes()
                results.append((data, content_hash(data)))
            except Unusable as reason:
                results.append(str(reason))
        return results

    workers = os.cpu_count() or 1
    waiting: deque[Future[list[tuple[bytes, int] | str]]] = deque()
    with quiet(), contextlib.ExitStack() as stack:
        pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        stack.callback(pool.shutdown, cancel_futures=True)
        chunks = listing.chunks(CHUNK)
        for sources in itertools.chain(chunks, [None]):
            if sources is not None:
                waiting.append(pool.submit(work, sources))
            while waiting and (sources is None or len(waiting) > 2 * workers):
                yield waiting.popleft().result()


def _publish(building: Path, folder: Path, side: int, channels: int, total: int) -> None:
    """Rename into place; where another process was first its folder stays, and a damaged one is moved out of the way."""
    while True:
        try:
            building.rename(folder)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        if _load(folder, side, channels, total) is not None:
            return
        with contextlib.suppress(FileNotFoundError):
            aside = folder.with_name(f"{building.name}-damaged")
            folder.rename(aside)
            shutil.rmtree(aside, ignore_errors=True) if aside.is_dir() else aside.unlink()


def _remove_abandoned(parent: Path) -> None:
    for left in parent.glob(".*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(left)
