"""The samples of a data set that are most like a query, by the cosine of their features."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leaven.data import DataSet
from leaven.encoders import Encoder
from leaven.errors import UserError
from leaven.evaluation.features import check_input, encode
from leaven.evaluation.knn import nearest_in_blocks
from leaven.modalities import Value, modality_of
from leaven.vectors import Origin, Vectors, label_of, name_of

SAME_VECTOR = 0.05  # of its length: other batches move fp32 by 1e-6 of it, bf16 by 1e-2, another sample or encoder moves it by more than 0.1


@dataclass(frozen=True, eq=False)
class Query:
    """One sample to look for. row: its own in the data, which is not found."""

    name: str
    value: Value
    row: int | None = None


def read_query(asked: Any, data: DataSet, value: Value, encoder: Encoder) -> Query:
    """A query from a sample of the data (its file name or its place), or from what the modality makes a sample of: a file, a text, an array.

    value: the data's samples. Raises UserError for anything else.
    """
    if not isinstance(asked, np.ndarray | Tensor) and (row := row_of(asked, data)) is not None:
        return Query(name_of(data, row), value[torch.tensor([row])], row)
    name, sample = encoder.modality.query(asked, encoder.modality.spec(value, torch.arange(1)))
    check_input(encoder, encoder.modality.spec(sample, torch.arange(1)), "the query")
    return Query(name, sample)


def row_of(asked: Any, data: DataSet) -> int | None:
    """The row that 17, "#17", "17" or a file name of the data stands for, unless there is a file of that name."""
    if isinstance(asked, str) and os.path.exists(os.path.expanduser(asked)):
        return None
    if isinstance(asked, int | np.integer) or (isinstance(asked, str) and re.fullmatch(r"#?\d+", asked)):
        row = int(str(asked).removeprefix("#"))
        if not 0 <= row < len(data):
            raise UserError(f"there is no row {row}", where=data.name, hint=f"its rows are #0 to #{len(data) - 1}")
        return row
    return data.files.index(asked) if isinstance(asked, str) and asked and asked in data.files else None


def neighbours(
    data: DataSet, value: Value, queries: Sequence[Query], features: Tensor, blocks: Iterable[Tensor], k: int
) -> list[list[dict[str, Any]]]:
    """For each query {rank, file, index, similarity, text (of texts), label (where the data has labels)} of the k nearest, nearest first.

    value: the samples that are searched. features: (queries, dim). blocks: the features of the samples, in order.
    """
    own = any(query.row is not None for query in queries)
    if own and len(data) == 1:
        raise UserError("there is no other sample to find", where=data.name)
    similarity, index = nearest_in_blocks(blocks, features, k=k + own)
    answers = []
    for query, values, rows in zip(queries, similarity.tolist(), index.tolist(), strict=True):
        others = [(similar, row) for similar, row in zip(values, rows, strict=True) if row != query.row][:k]
        answers.append([described(data, value, row, rank, similar) for rank, (similar, row) in enumerate(others, start=1)])
    return answers


def described(data: DataSet, value: Value, row: int, rank: int, similarity: float) -> dict[str, Any]:
    """One neighbour, as people and programs read it."""
    text = modality_of(value).written(value[torch.tensor([row])])
    written = {} if text is None else {"text": text}
    labeled = {"label": label_of(data, row)} if data.spec.names else {}
    return {"rank": rank, "file": name_of(data, row), "index": row, "similarity": round(min(1.0, max(-1.0, similarity)), 6), **written, **labeled}


def check_vectors(vectors: np.ndarray | Vectors, path: Path, wanted: Origin, encoder: Encoder, value: Value) -> None:
    """Raises UserError unless these are this encoder's features of this data: shards say so, of an array a few rows are encoded again."""
    if isinstance(vectors, Vectors):
        vectors.origin.check_features(wanted, path)
        return
    hint = "write them again with `leaven embed`"
    if vectors.shape != (wanted.samples, wanted.dim):
        what = f"{vectors.shape[0]:,} vectors of {vectors.shape[1]} numbers are not the {wanted.samples:,} of {wanted.dim} of this run and data"
        raise UserError(what, where=path, hint=hint)
    rows = torch.linspace(0, wanted.samples - 1, min(8, wanted.samples)).long()
    anew, stored = encode(encoder, value, rows), torch.from_numpy(np.array(vectors[rows.numpy()], np.float32))
    if (differs := ~((stored - anew).norm(dim=1) <= SAME_VECTOR * anew.norm(dim=1))).any():
        raise UserError(f"these are not the features of this run and data: row {int(rows[differs][0])} differs", where=path, hint=hint)
