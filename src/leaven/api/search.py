"""The samples that are most like a query."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from leaven.api.opening import counted, opened, origin_of
from leaven.console import Progress, quiet
from leaven.errors import UserError
from leaven.evaluation.features import encode, encoded
from leaven.evaluation.search import check_vectors, neighbours, read_query
from leaven.report.contact_sheet import search_sheet
from leaven.run import Run
from leaven.training.devices import choose_device
from leaven.vectors import blocks, open_vectors


def search(
    run: str | Path | Run,
    data: Any,
    query: Any,
    *,
    k: int = 10,
    vectors: str | Path | None = None,
    out: str | Path | None = None,
    role: str | None = None,
    labels: Any = None,
    columns: Mapping[str, str] | None = None,
    device: str = "auto",
    data_root: str | Path | None = None,
    progress: Progress = quiet,
) -> list[Any]:
    """The k samples of the data whose features are nearest to a query's, by exact cosine similarity: {rank, file, index, similarity}, nearest first.

    query: a picture file, a PIL picture, an array of one sample, or a sample of the data by its file name or its row (17 or "#17"), which does not
    find itself. A list of these gives a list of lists. Where the data has labels, `label` tells each sample's class (None: it has none).
    vectors: what `embed` wrote of this data (.npy or folder), so that it need not be encoded again. out: a contact sheet, as .png.
    Fewer than k are found where there are no more samples.

    Raises UserError for a query that is neither picture nor sample, k below 1, and vectors of another encoder or other data.
    """
    if k < 1:
        raise UserError(f"k must be at least 1, not {k}")
    if out is not None and Path(out).suffix.lower() != ".png":
        raise UserError("a contact sheet is a .png", where=out, hint="end --out with .png")
    given = run if isinstance(run, Run) else Run.open(run)
    encoder, samples, value, part = opened(given, data, role, labels, columns, data_root, progress)
    if out is not None and not encoder.modality.visible:
        raise UserError(f"a contact sheet shows pictures, and this data is {value.modality}", hint="leave --out out")
    kind = choose_device(device)
    several = isinstance(query, list | tuple)
    asked = list(query) if several else [query]
    if not asked:
        raise UserError("no query", hint="give a picture file, or a row such as #17")
    queries = [read_query(each, samples, value, encoder) for each in asked]
    features = torch.cat([encode(encoder, each.value, torch.arange(1), device=kind) for each in queries])
    if vectors is None:
        found = encoded(encoder, value, torch.arange(len(samples)), device=kind)
    else:
        there = open_vectors(Path(vectors))
        check_vectors(there, Path(vectors), origin_of(given, encoder, samples, part, "fp32"), encoder, value)
        found = blocks(there)
    answers = neighbours(samples, queries, features, counted(found, len(samples), partial(progress, "searched")), k)
    if out is not None:
        search_sheet(Path(out), samples, value, queries, answers)
    return answers if several else answers[0]
