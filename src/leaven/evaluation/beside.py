"""Trained models beside an encoder: what they read, their features, which are kept so that no sample is encoded twice, and what their scores say."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from leaven.data import DataSet
from leaven.data.cache import cache_folder, cache_limit
from leaven.errors import DAMAGED_ARRAY, UserError
from leaven.evaluation.features import encode
from leaven.modalities.content import content_hash, digest
from leaven.run import write_whole
from leaven.vectors import contents_hash, weights_hash

if TYPE_CHECKING:
    from leaven.encoders import Encoder

FORMAT = 1


@dataclass(frozen=True, eq=False)
class Beside:
    """A trained model, its name, and the samples as it reads them, in the order of those of the encoder that it is compared with."""

    name: str
    model: Encoder
    data: DataSet

    def features(
        self, role: str, rows: Tensor, *, device: str = "cpu", progress: Callable[[int, int], object] = lambda done, total: None
    ) -> Float[Tensor, "rows dim"]:
        """The features of these samples of a role: computed now, or found in the cache folder, where they are kept as long as there is room."""
        path = cache_folder() / "features" / f"{self.key(role, rows)}.npy"
        with suppress(*DAMAGED_ARRAY):
            kept = torch.from_numpy(np.load(path))
            if kept.shape == (len(rows), self.model.dim):
                os.utime(path)  # used now
                return kept
        features = encode(self.model, self.data.rows[role], rows, device=device, progress=progress)
        with suppress(UserError, OSError):  # a full disk or a closed folder only costs time
            keep(path, features)
        return features

    def key(self, role: str, rows: Tensor) -> str:
        """What the features depend on: the model, how it reads, and the samples."""
        tokenizer, model = self.model.tokenizer, self.model
        reads = tuple(model.input.shape), getattr(model, "pooling", ""), tokenizer.digest() if tokenizer else ""
        samples = contents_hash(self.data), role, content_hash(rows.numpy().tobytes())
        return digest((FORMAT, weights_hash(model), *reads, *samples))


def keep(path: Path, features: Tensor) -> None:
    """Write features where those that were not used for longest make room for them; not at all where the limit is too small."""
    room = cache_limit() - features.nbytes
    if room < 0:
        return
    others = sorted(path.parent.glob("*.npy"), key=lambda other: other.stat().st_mtime, reverse=True)
    for other in others:
        room -= other.stat().st_size
        if room < 0:
            other.unlink(missing_ok=True)

    def save(partial: Path) -> None:
        with open(partial, "wb") as file:
            np.save(file, features.numpy())

    write_whole(path, save)


def standing(name: str, own: Mapping[str, Any], other: Mapping[str, Any], measure: str, title: str, what: str = "this run") -> str:
    """How the score of a model beside compares, in one sentence.

    own, other: points with an interval. measure: the key of their numbers. title: of the protocol. what: the model is compared with.
    """
    gives, points = f"{name}, frozen, gives {100 * other[measure]:.1f} % ({title})", 100 * (other[measure] - own[measure])
    if other["interval"][0] <= own["interval"][1] and own["interval"][0] <= other["interval"][1]:
        return f"{gives}, which cannot be told apart from {what}."
    return f"{gives}: {abs(points):.1f} points {'more' if points > 0 else 'less'} than {what}."
