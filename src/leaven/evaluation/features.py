"""Features of many samples, a batch at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from leaven.data.batch import Counts, Pixels, Text, Value, Vector
from leaven.data.spec import InputSpec
from leaven.encoders import Encoder
from leaven.encoders.encoder import fitted
from leaven.errors import UserError
from leaven.training.precision import fast_products, keep_freed_memory

VALUES_AT_ONCE = 2**20
WORDS = r"\S+"  # any run without a blank
MOST_WORDS = 5000  # as features; all of a large vocabulary would take gigabytes
LARGEST_RAW, SHRUNK = 64, 32  # larger pictures would take gigabytes as features, and a probe on their pixels is no better


def batch_of(shape: tuple[int, ...]) -> int:
    """How many samples are encoded at once: few enough of large pictures that memory stays small."""
    return max(8, min(250, VALUES_AT_ONCE // math.prod(shape)))


@torch.no_grad()
def encoded(
    encoder: Encoder, value: Value, rows: Tensor, *, batch: int | None = None, device: str = "cpu", precision: str = "fp32"
) -> Iterator[Float[Tensor, "batch dim"]]:
    """fp32 features of these rows a batch at a time, in order, in eval mode, on the CPU. Pictures of another size are resized to the encoder's.

    precision: fp32, or bf16 (autocast, rounded in between).
    """
    keep_freed_memory()
    encoder = encoder.to(device).eval()
    for part in rows.split(batch or batch_of(encoder.input.shape)):
        # not across the yield: these would reach the caller
        with fast_products(device, precision), torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            features = encoder(fitted(value[part].to(device), encoder.input.shape))
        yield features.float().cpu()


def encode(
    encoder: Encoder,
    value: Value,
    rows: Tensor,
    *,
    batch: int | None = None,
    device: str = "cpu",
    precision: str = "fp32",
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Float[Tensor, "rows dim"]:
    """The features of `encoded`, together."""
    parts, done = [], 0
    for part in encoded(encoder, value, rows, batch=batch, device=device, precision=precision):
        parts.append(part)
        done += len(part)
        progress(done, len(rows))
    return torch.cat(parts)


def check_input(encoder: Encoder, spec: InputSpec, where: object = None) -> None:
    """Raises UserError where an encoder does not read such samples."""
    wanted = encoder.input
    if spec.modality != wanted.modality:
        raise UserError(f"this encoder reads {wanted.modality}, and the data is {spec.modality}", where=where, hint="give data like that of its run")
    differs = spec.shape[0] != wanted.shape[0] if spec.modality == "pixels" else spec.modality in ("vector", "counts") and spec.shape != wanted.shape
    if differs:
        what = "channels" if spec.modality == "pixels" else "numbers"
        raise UserError(f"this encoder reads {wanted.shape[0]} {what} a sample, and the data has {spec.shape[0]}", where=where)


def raw(value: Value, rows: Tensor, train: Tensor, *, analyzer: str = "word") -> Float[Tensor, "rows dim"]:
    """The input itself as a feature vector: pixels in 0-1 (pictures of more than 64 pixels are shrunk to 32 first), plain numbers, tf-idf of counts
    and of texts, whose `analyzer` is "word" or "char_wb" (see `sparse_tf_idf`).

    train: the rows by which words are weighed; of more than 5,000 words, those are taken that stand in most of these.
    """
    if isinstance(value, Pixels):
        channels, *sides = value.shape[0]
        small = sides if max(sides) <= LARGEST_RAW else (SHRUNK, SHRUNK)
        parts = (fitted(value[part], (channels, *small)) for part in rows.split(batch_of((channels, *sides))))
        return torch.cat([part.unit().flatten(1) for part in parts if isinstance(part, Pixels)])
    if isinstance(value, Vector):
        return value[rows].numbers.float()
    if isinstance(value, Counts):
        tf_idf = TfIdf(value, train)
        words = np.sort(np.argsort(-tf_idf.texts, kind="stable")[:MOST_WORDS])
        return torch.from_numpy(tf_idf(rows)[:, words].toarray())
    if isinstance(value, Text):
        return torch.from_numpy(sparse_tf_idf(value[train].texts, analyzer, MOST_WORDS)(value[rows].texts).toarray()).float()
    raise TypeError(f"no raw features for {value.modality}")


def sparse_tf_idf(texts: Iterable[str], analyzer: str, most: int | None = None) -> Callable[[Iterable[str]], Any]:
    """What gives texts their sparse (rows, words) tf-idf at unit length, with the inverse document frequencies of these texts.

    analyzer: "word", or "char_wb" for runs of two to four characters within words. most: only so many, which are in the most texts.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    runs = {"ngram_range": (2, 4)} if analyzer == "char_wb" else {"token_pattern": WORDS}
    found = TfidfVectorizer(analyzer=analyzer, max_features=most, sublinear_tf=True, **runs)
    return found.fit(texts).transform


class TfIdf:
    """Sparse (rows, words) tf-idf at unit length, with the inverse document frequencies of the training rows (scikit-learn's TfidfTransformer).

    texts: of these, how many have each word.
    """

    def __init__(self, value: Counts, train: Tensor):
        from sklearn.feature_extraction.text import TfidfTransformer

        self.value = value
        counts = self.counts(train)
        self.texts = counts.getnnz(axis=0)
        self.transformer = TfidfTransformer().fit(counts)

    def __call__(self, rows: Tensor) -> Any:
        return self.transformer.transform(self.counts(rows))

    def counts(self, rows: Tensor) -> Any:
        from scipy.sparse import csr_matrix, vstack

        parts = rows.split(batch_of(self.value.shape[0])) if len(rows) else [rows]
        return vstack([csr_matrix(self.value[part].counts.float().numpy()) for part in parts], format="csr")


def linear_code(value: Value, train: Tensor, size: int, seed: int) -> tuple[str, Callable[[Tensor], Tensor]]:
    """The best linear code of so many numbers (fewer where the input or the training part is smaller), its name and how rows get theirs.

    Of counts a truncated singular value decomposition of tf-idf (latent semantic analysis, Deerwester et al. 1990), else principal components of what
    `raw` gives.
    """
    from sklearn.decomposition import PCA, TruncatedSVD

    tf_idf = TfIdf(value, train) if isinstance(value, Counts) else None

    def read(rows: Tensor) -> Any:
        return raw(value, rows, train).numpy() if tf_idf is None else tf_idf(rows)

    numbers = read(train)
    size = min(size, *numbers.shape)
    found = PCA(size, random_state=seed) if tf_idf is None else TruncatedSVD(size, random_state=seed)
    found.fit(numbers)
    return f"{'pca' if tf_idf is None else 'lsa'} {size}", lambda rows: torch.from_numpy(found.transform(read(rows))).float()


def spread(rows: Int64[Tensor, " rows"], count: int) -> Int64[Tensor, " some"]:
    """At most `count` of these rows, evenly spaced."""
    return rows if len(rows) <= count else rows[torch.linspace(0, len(rows) - 1, count).long()]
