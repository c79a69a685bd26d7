"""Bags of words: sparse matrices, and the .npz files that hold them, as counts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leaven.data.batch import Counts, Rows
from leaven.data.content import CHUNK
from leaven.errors import UserError

DENSE_BYTES = 2**28  # of float32; a larger matrix stays sparse, and rows are made dense when they are selected
FIELDS = {"format", "shape", "data"}  # of what scipy.sparse.save_npz writes, beside those of its format
HINT = "a matrix with a row a sample and a column a word, as scikit-learn's CountVectorizer gives"


class SparseRows(Rows):
    """(N, D) float32 numbers of a sparse matrix in rows (CSR), each made dense when it is selected."""

    def __init__(self, matrix: Any):
        self.matrix, self.shape, self.dtype = matrix, torch.Size(matrix.shape), torch.float32

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        rows = self.matrix[index.cpu().numpy() if isinstance(index, Tensor) else index]
        return torch.from_numpy(rows.toarray())

    def take(self, rows: np.ndarray) -> SparseRows:
        return SparseRows(self.matrix[rows])

    @property
    def nbytes(self) -> int:
        """What is held: the numbers that are not 0, and their places."""
        return self.matrix.data.nbytes + self.matrix.indices.nbytes + self.matrix.indptr.nbytes


def is_sparse(value: Any) -> bool:
    """Whether it is a sparse matrix or array of scipy (which is not imported for that)."""
    return "scipy.sparse" in sys.modules and sys.modules["scipy.sparse"].issparse(value)


def from_sparse(matrix: Any, where: str) -> Counts:
    """Counts from a sparse matrix of any format; dense where they are small. Raises UserError as `check_counts` does."""
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise UserError(f"a matrix of {' x '.join(map(str, matrix.shape))} holds no counts", where=where, hint=HINT)
    if matrix.dtype.kind not in "biuf":
        raise UserError(f"a matrix of {matrix.dtype} holds no counts", where=where, hint=HINT)
    check_numbers(torch.from_numpy(np.asarray(matrix.tocoo().data, np.float32)), where)
    rows = matrix.tocsr().astype(np.float32)
    rows.sum_duplicates()
    dense = 4 * rows.shape[0] * rows.shape[1] <= DENSE_BYTES
    return Counts(torch.from_numpy(rows.toarray()) if dense else SparseRows(rows))  # type: ignore[arg-type]


def check_counts(value: Counts, where: str) -> Counts:
    """The counts as float32. Raises UserError where they are negative or not finite, or there are none for any sample."""
    counts = value.counts
    if len(counts.shape) != 2 or 0 in counts.shape:
        raise UserError(f"an array of shape {tuple(counts.shape)} holds no counts", where=where, hint=HINT)
    if isinstance(counts, Rows):
        return value
    for part in counts.split(CHUNK):
        check_numbers(part, where)
    return Counts(counts.float())


def check_numbers(counts: Tensor, where: str) -> None:
    if not counts.isfinite().all():
        raise UserError("some counts are not finite (NaN or infinity)", where=where, hint="remove or fill these samples")
    if counts.numel() and counts.min() < 0:
        raise UserError(f"some counts are negative, such as {counts.min():.3g}", where=where, hint="counts say how often something occurs: 0 or more")


def without_counts(value: Counts) -> Tensor:
    """(N,) bool: which samples have no count at all."""
    if isinstance(value.counts, SparseRows):
        return torch.from_numpy(np.asarray(value.counts.matrix.sum(axis=1)).reshape(-1) == 0)
    return ~value.counts.any(dim=1)


def read_sparse(path: Path) -> Any:
    """The sparse matrix of an .npz file that scipy.sparse.save_npz wrote, or None for another one. Raises UserError for a damaged one."""
    with np.load(path) as archive:
        if not set(archive.files) >= FIELDS:
            return None
    from scipy.sparse import load_npz

    matrix = load_npz(path)
    if hasattr(matrix, "check_format"):
        matrix.check_format(full_check=True)  # else a wrong index reads memory that is not its own
    return matrix
