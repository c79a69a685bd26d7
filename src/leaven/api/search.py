"""The samples that are most like a query."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch

from leaven.api import options
from leaven.api.open import Opened, counted, open_for
from leaven.api.write import check_suffix
from leaven.console import Progress, Say, quiet
from leaven.encoders import Encoder
from leaven.errors import UserError
from leaven.evaluation.agreement import agreement
from leaven.evaluation.features import encode, encoded
from leaven.evaluation.search import Query, check_vectors, neighbours, read_query, row_of
from leaven.report.contact_sheet import search_sheet
from leaven.run import Run
from leaven.training.devices import choose_device
from leaven.training.trained import data_role, load_encoder_of, shared_space
from leaven.vectors import blocks, name_of, open_vectors


@options.documented
def search(
    run: options.RunFolder,
    data: options.Data,
    query: Annotated[Any, options.Option("A picture file, a text, a row (17 or '#17') or a file name of the data. May be repeated.", many=True)],
    *,
    k: Annotated[int, options.Option("How many samples to find.", flags=("-k",))] = 10,
    vectors: Annotated[options.OptionalPath, "What `leaven embed` wrote of this data, so that it is not encoded again."] = None,
    out: Annotated[options.OptionalPath, "A contact sheet of the samples, as a .png file."] = None,
    role: Annotated[options.Role, "Which of the run's encoders made the vectors that are searched, where it has several."] = None,
    query_role: Annotated[str | None, options.Option("Which encoder reads the query (default: the one that such a query fits).")] = None,
    labels: options.Labels = None,
    columns: options.Columns = None,
    device: options.Device = "auto",
    data_root: options.Root = None,
    say: Say = quiet,
    progress: Progress = quiet,
) -> list[Any]:
    """Find the samples that are most like a picture or a text.

    By exact cosine similarity of features: {rank, file, index, similarity}, nearest first, with `text` (of texts) and `label` (where the data has
    labels; None: this sample has none). In Python a query may be a PIL picture or an array of one sample as well; a list of queries gives a list of
    lists. A sample of the data does not find itself. Where a run has several encoders, a query of one role is compared with samples of another one
    in the space that its method learned for all roles: a text finds pictures, a picture finds texts.

    Raises UserError for a query that is no sample, k below 1, and vectors of another encoder or other data.
    """
    if k < 1:
        raise UserError(f"k must be at least 1, not {k}")
    sheet = check_suffix(out, ".png", "a contact sheet is")
    run = Run.open(run)
    opened = open_for(run, data, role=role, labels=labels, columns=columns, data_root=data_root, say=say, progress=progress)
    if sheet is not None and not opened.encoder.modality.visible:
        raise UserError(f"a contact sheet shows pictures, and this data is {opened.samples.modality}", hint="leave --out out")
    chosen_device = choose_device(device)
    several = isinstance(query, list | tuple)
    items = query if several else [query]
    if not items:
        raise UserError("no query", hint="give a picture file, or a row such as #17")
    readers = query_readers(opened, query_role)
    questions = [read_question(item, opened, readers, query_role) for item in items]
    features = [encode(reader, question.value, torch.arange(1), device=chosen_device) for question, reader in questions]
    if vectors is None:
        stored = encoded(opened.encoder, opened.samples, torch.arange(len(opened.data)), device=chosen_device)
    else:
        there = open_vectors(Path(vectors))
        check_vectors(there, Path(vectors), opened.origin("fp32"), opened.encoder, opened.samples)
        stored = blocks(there)
    if any(reader is not opened.encoder for _, reader in questions):
        space = shared_space(run)
        features = [space(reader, block) for block, (_, reader) in zip(features, questions, strict=True)]
        stored = (space(opened.encoder, block) for block in stored)
    queries = [question for question, _ in questions]
    stored = counted(stored, len(opened.data), progress, "searched")
    answers = neighbours(opened.data, opened.samples, queries, torch.cat(features), stored, k)
    if vectors is None and (line := agreement(opened.encoder, opened.data, opened.samples, device=chosen_device)):
        say(line)
    if sheet is not None:
        search_sheet(sheet, opened.data, opened.samples, queries, answers)
    return answers if several else answers[0]


def query_readers(opened: Opened, role: str | None) -> list[Encoder]:
    """The encoders that may read a query, the one that is searched first; with a role only that one."""
    if role is not None:
        return [opened.encoder if role == opened.encoder.role else load_encoder_of(opened.run, role)]
    others = [name for name in opened.run.roles if name != opened.encoder.role]
    return [opened.encoder, *(load_encoder_of(opened.run, name) for name in others)]


def read_question(query: Any, opened: Opened, readers: Sequence[Encoder], role: str | None) -> tuple[Query, Encoder]:
    """A query and the encoder that reads it: the first one whose modality recognises it. role: where the user has chosen the encoder."""
    row = row_of(query, opened.data)
    if row is None and role is None and len(readers) > 1:
        reader = next((reader for reader in readers if reader.modality.recognizes(query)), readers[0])
    else:
        reader = readers[0]
    if reader is opened.encoder:
        return read_query(query, opened.data, opened.samples, reader), reader
    if row is not None:
        value = opened.data.rows[data_role(opened.data.spec, reader, role)]
        return Query(name_of(opened.data, row), value[torch.tensor([row])]), reader  # its own other half may be found
    name, sample = reader.modality.query(query, reader.input)
    return Query(name, sample), reader
