"""Pictures decoded once into a memory-mapped file in the user's cache folder; beyond its limit, only their hashes and which of them are broken."""

import contextlib
import itertools
import os
import warnings
from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from leaven.data.cache import FORMAT, Entry, Progress, cache_folder, cache_limit, rewrite_header, write_header
from leaven.data.sources.listing import Listing, Part
from leaven.data.undecoded import Undecoded
from leaven.errors import DAMAGED_ARRAY
from leaven.modalities import Pixels
from leaven.modalities.content import content_hash, digest, evenly_spaced
from leaven.modalities.decoding import Stored, decode
from leaven.modalities.picture_files import Source, Unusable, quiet

CHUNK = 64


def stored(listing: Listing, form: Stored, *, cache_dir: str | Path | None = None, progress: Progress | None = None) -> Part:
    """The listing's pictures in this form, mapped read-only: decoded now, or found in the cache.

    Where they would take more than the cache's limit, each is decoded once to find the broken ones, and again whenever it is selected. Pictures that
    were not used for longest make room for new ones. Safe in several processes at once: each builds beside and renames, the first wins.
    Raises UserError when no picture can be used, the disk is full or the cache folder cannot be written.
    """
    limit = cache_limit()
    keep = len(listing.names) * form.nbytes <= limit
    name = digest((FORMAT, form, keep, listing.identity()))
    entry = PictureEntry(listing, form, keep, cache_folder(cache_dir) / "pictures" / name)
    return entry.load() or entry.build(limit, progress)


@dataclass(frozen=True, eq=False)
class PictureEntry(Entry[Part]):
    """The pictures of one listing in one form. keep: with their pixels."""

    noun, plural = "picture", "pictures"

    listing: Listing
    form: Stored
    keep: bool
    folder: Path

    @property
    def needed(self) -> int:
        return len(self.listing.names) * self.form.nbytes if self.keep else 0

    def load(self) -> Part | None:
        total = len(self.listing.names)
        try:
            meta = self.read_meta()
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
        except (*DAMAGED_ARRAY, TypeError):
            return None
        if not whole:
            return None
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*not writable.*")
            samples: Any = torch.from_numpy(pixels) if self.keep else Undecoded(self.listing, kept, self.form)
        return Part(Pixels(samples, self.form.reading.to_dict()), kept, broken, torch.from_numpy(hashes))

    def write(self, folder: Path, progress: Progress | None) -> list[tuple[int, str]]:
        """Decode in threads, write in order. Plain writes, not a memory map, so that a full disk is an error and not a crash."""
        hashes: list[int] = []
        broken: list[tuple[int, str]] = []
        total = len(self.listing.names)
        target = folder / "pixels.npy" if self.keep else Path(os.devnull)
        with target.open("wb") as stream, contextlib.closing(_decoded(self.listing, self.form)) as results:
            start = write_header(stream, (total, *self.form.shape), self.form.dtype)
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
                rewrite_header(stream, (len(hashes), *self.form.shape), self.form.dtype, start)
        np.save(folder / "hashes.npy", np.array(hashes, np.int64))
        np.save(folder / "kept.npy", np.delete(np.arange(total), [row for row, _ in broken]))
        self.write_meta(folder, broken=broken)
        return broken


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
