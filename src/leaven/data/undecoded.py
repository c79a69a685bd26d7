"""Pictures that are decoded when they are asked for, for data sets that are larger than the cache may become."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from torch import Tensor

from leaven.data.sources.listing import Listing
from leaven.errors import UserError
from leaven.modalities import LazyTensor
from leaven.modalities.decoding import Stored, decode
from leaven.modalities.picture_files import Unusable, quiet


@cache
def decoders() -> ThreadPoolExecutor:
    """One thread per core: Pillow decodes and resizes without Python's lock."""
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode")


class Undecoded(LazyTensor):
    """(N, C, S, S) pictures of a listing, each decoded when it is selected. kept: (N,) rows of the listing, all known to be whole."""

    costly = True

    def __init__(self, listing: Listing, kept: np.ndarray, form: Stored):
        self.listing, self.kept, self.form = listing, kept, form
        self.shape, self.dtype = torch.Size((len(kept), *form.shape)), torch.float32 if form.deep else torch.uint8

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        rows = self.kept[index.cpu().numpy() if isinstance(index, Tensor) else index].tolist()
        pixels = np.empty((len(rows), *self.form.shape), self.form.dtype)

        def place(start: int, stop: int) -> None:
            for number, source in enumerate(self.listing.sources(rows[start:stop]), start):
                try:
                    pixels[number] = decode(source, self.form)
                except Unusable as reason:
                    hint = "it was whole when the data was first opened; restore it, or run the command again to have it set aside"
                    raise UserError(f"a picture can no longer be read: {reason}", where=self.listing.names[rows[number]], hint=hint) from None

        with quiet():
            share = max(1, -(-len(rows) // (4 * (os.cpu_count() or 1))))
            for _ in decoders().map(place, range(0, len(rows), share), range(share, len(rows) + share, share)):
                pass
        return torch.from_numpy(pixels)

    def take(self, rows: np.ndarray) -> Undecoded:
        return Undecoded(self.listing, self.kept[rows], self.form)
