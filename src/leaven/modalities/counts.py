"""How often each of some things occurs, such as words in a text; sparse matrices stay sparse where they are large."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from leaven.errors import UserError
from leaven.modalities.content import CHUNK, constant_dimensions, moments
from leaven.modalities.modality import DefaultEncoder, Modality
from leaven.modalities.spec import InputSpec
from leaven.modalities.value import LazyTensor, Value

DENSE_BYTES = 2**28  # of float32; a larger matrix stays sparse, and samples become dense when they are selected
MOST_WORDS = 5000  # as raw features; all of a large vocabulary would take gigabytes
AT_ONCE = 2**20  # numbers that are made dense at a time
HINT = "a matrix with one row per sample and one column per word, as scikit-learn's CountVectorizer gives"


class SparseTensor(LazyTensor):
    """(N, D) float32 numbers of a sparse matrix (CSR); samples become dense when they are selected."""

    def __init__(self, matrix: Any):
        self.matrix, self.shape, self.dtype = matrix, torch.Size(matrix.shape), torch.float32

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        selected = self.matrix[index.cpu().numpy() if isinstance(index, Tensor) else index]
        return torch.from_numpy(selected.toarray())

    def take(self, index: np.ndarray) -> SparseTensor:
        return SparseTensor(self.matrix[index])

    @property
    def nbytes(self) -> int:
        """What is stored: the numbers that are not 0, and their places."""
        return self.matrix.data.nbytes + self.matrix.indices.nbytes + self.matrix.indptr.nbytes


@dataclass(frozen=True, eq=False)
class Counts(Value):
    """How often each of some things occurs, such as words in a text: (B, D) float, 0 or more."""

    modality = "counts"
    counts: Tensor  # or a LazyTensor, until samples are selected

    def shares(self) -> Tensor:
        """(B, D) float32: each count over the sum of its sample; zeros for a sample without any."""
        counts = self.counts.float()
        return counts / counts.sum(1, keepdim=True).clamp(min=1e-12)


class CountsModality(Modality):
    """Bags of words."""

    name, noun, plural, values = "counts", "list of counts", "lists of counts", (Counts,)
    encoders = (DefaultEncoder("mlp", "counts"),)
    method = ("deep_autoencoder", "a code that keeps the words of a text, made for finding texts of the same kind")
    views = {"contrast": {"kind": "counts"}, "plain": {"kind": "counts", "count": 1, "drop": 0}}
    likelihoods = ("multinomial",)

    def spec(self, value: Any, train: Tensor) -> InputSpec:
        mean, std = moments(value.counts, train)
        return InputSpec(self.name, tuple(value.counts.shape[1:]), mean, std)

    def checked(self, value: Any, where: str) -> Value:
        """The counts as float32. Raises UserError where they are negative or not finite, or there are none for any sample."""
        counts = value.counts
        if len(counts.shape) != 2 or 0 in counts.shape:
            raise UserError(f"an array of shape {tuple(counts.shape)} holds no counts", where=where, hint=HINT)
        if value.lazy:
            return value
        for part in counts.split(CHUNK):
            check_counts(part, where)
        return Counts(counts.float())

    def empty(self, value: Any) -> tuple[Tensor, str] | None:
        """Samples without any count have no shares and no direction."""
        if isinstance(value.counts, SparseTensor):
            return torch.from_numpy(np.asarray(value.counts.matrix.sum(axis=1)).reshape(-1) == 0), "no counts"
        return ~value.counts.any(dim=1), "no counts"

    def constant(self, value: Any, train: Tensor) -> int:
        return constant_dimensions(value.counts, train)

    def statistics(self, spec: InputSpec) -> tuple[Tensor, Tensor]:
        return torch.zeros(1, spec.shape[0]), torch.ones(1, spec.shape[0])

    def standardized(self, numbers: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """Square roots of shares, with a mean square of 1 in each sample."""
        # Auto-encoders of 20 newsgroups found texts with a mAP of 0.29 so (on a fifth of the training part), and 0.26 from log(1 + count).
        counts = numbers.to(scale.dtype)
        return (counts * (counts.shape[1] / counts.sum(1, keepdim=True).clamp(min=1e-12))).sqrt()

    def of_standardized(self, numbers: Tensor, spec: InputSpec, scale: Tensor, shift: Tensor) -> Value:
        """Counts of a text of the data's mean length."""
        return Counts(numbers.clamp(min=0).square() * (spec.words / numbers.shape[1]))

    def of_numbers(self, numbers: Tensor, spec: InputSpec, *, whole: bool = False) -> Value:
        return Counts((numbers.round() if whole else numbers).clamp(min=0))

    def modeled(self, numbers: Tensor, spec: InputSpec) -> Tensor:
        """Every text brought to the data's mean length."""
        return numbers * (spec.words / numbers.sum(1, keepdim=True).clamp(min=1e-12))

    def compared(self, value: Any) -> Float[Tensor, "samples values"]:
        """Shares, which are all that is rebuilt of counts."""
        return value.shares()

    def raw_features(self, value: Any, train: Tensor) -> Callable[[Value], Float[Tensor, "samples dim"]]:
        """tf-idf of the words that occur in most training samples, at most 5,000."""
        tf_idf = TfIdf(value.take(train))
        words = np.sort(np.argsort(-tf_idf.texts, kind="stable")[:MOST_WORDS])
        return lambda some: torch.from_numpy(tf_idf(some)[:, words].toarray())

    def linear_code(self, value: Any, train: Tensor, size: int, seed: int) -> tuple[str, Callable[[Value], Float[Tensor, "samples size"]]]:
        """Latent semantic analysis: a truncated singular value decomposition of tf-idf (Deerwester et al. 1990)."""
        from sklearn.decomposition import TruncatedSVD

        tf_idf = TfIdf(value.take(train))
        train_features = tf_idf(value.take(train))
        size = min(size, *train_features.shape)
        code = TruncatedSVD(size, random_state=seed).fit(train_features)
        return f"lsa {size}", lambda some: torch.from_numpy(code.transform(tf_idf(some))).float()

    def example(self, spec: InputSpec, count: int, generator: torch.Generator) -> Tensor:
        return torch.poisson(torch.tensor(spec.mean or 1.0).expand(count, *spec.shape), generator=generator)


class TfIdf:
    """Sparse (samples, words) tf-idf at unit length, with the inverse document frequencies of the training samples (scikit-learn's TfidfTransformer).

    texts: how many of these hold each word.
    """

    def __init__(self, train: Counts):
        from sklearn.feature_extraction.text import TfidfTransformer

        counts = sparse(train)
        self.texts = counts.getnnz(axis=0)
        self.transformer = TfidfTransformer().fit(counts)

    def __call__(self, value: Any) -> Any:
        return self.transformer.transform(sparse(value))


def sparse(value: Counts) -> Any:
    """The counts as a sparse matrix of scipy (CSR), made from a few samples at a time."""
    from scipy.sparse import csr_matrix, vstack

    at_once = max(8, min(250, AT_ONCE // value.shape[0].numel()))
    starts = range(0, max(1, len(value)), at_once)
    return vstack([csr_matrix(value.counts[start : start + at_once].float().numpy()) for start in starts], format="csr")


def is_sparse(value: Any) -> bool:
    """Whether it is a sparse matrix or array of scipy (which is not imported for that)."""
    return "scipy.sparse" in sys.modules and sys.modules["scipy.sparse"].issparse(value)


def of_sparse(matrix: Any, where: str) -> Counts:
    """Counts from a sparse matrix of any format; dense where they are small. Raises UserError as `CountsModality.checked` does."""
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise UserError(f"a matrix of {' x '.join(map(str, matrix.shape))} holds no counts", where=where, hint=HINT)
    if matrix.dtype.kind not in "biuf":
        raise UserError(f"a matrix of {matrix.dtype} holds no counts", where=where, hint=HINT)
    check_counts(torch.from_numpy(np.asarray(matrix.tocoo().data, np.float32)), where)
    rows = matrix.tocsr().astype(np.float32)
    rows.sum_duplicates()
    dense = 4 * rows.shape[0] * rows.shape[1] <= DENSE_BYTES
    return Counts(torch.from_numpy(rows.toarray()) if dense else SparseTensor(rows))  # type: ignore[arg-type]


def check_counts(counts: Tensor, where: str) -> None:
    if not counts.isfinite().all():
        raise UserError("some counts are not finite (NaN or infinity)", where=where, hint="remove or fill these samples")
    if counts.numel() and counts.min() < 0:
        raise UserError(f"some counts are negative, such as {counts.min():.3g}", where=where, hint="counts say how often something occurs: 0 or more")
