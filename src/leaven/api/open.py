"""A run, its encoder or its whole method, and the data that they read, opened for the commands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from leaven.console import Progress, Say, quiet
from leaven.data import DataSet, open_data
from leaven.data.labels import LabelReading
from leaven.encoders import Encoder, describe_encoder
from leaven.encoders.public import load_model
from leaven.evaluation.beside import Beside
from leaven.evaluation.features import check_input
from leaven.hyperparameters import hyperparameters
from leaven.methods.method import Method
from leaven.modalities import Value, find_modality
from leaven.modalities.decoding import Reading
from leaven.modalities.recording_files import RecordingReading
from leaven.run import Run
from leaven.training.trained import data_role, load_encoder_of
from leaven.vectors import SHARD_BYTES, Origin, contents_hash, rows_in, weights_hash

SPLIT = "split"


@dataclass(frozen=True, eq=False)
class Opened:
    """A run's encoder, and data as it reads it. role: of the data, which this encoder reads."""

    run: Run
    encoder: Encoder
    data: DataSet
    role: str

    @property
    def samples(self) -> Value:
        return self.data.rows[self.role]

    def origin(self, precision: str, shard_size: int | None = None) -> Origin:
        """What stands beside the vectors that this encoder makes of this data. shard_size None: as many as make 64 MB."""
        encoder, data = self.encoder, self.data
        return Origin(
            run=str(self.run.path), encoder=describe_encoder(encoder)["name"], weights=weights_hash(encoder), dim=encoder.dim, data=data.name,
            fingerprint=data.fingerprint, contents=contents_hash(data), role=self.role, samples=len(data), precision=precision,
            shard_size=rows_in(SHARD_BYTES, encoder.dim) if shard_size is None else shard_size, leaven=version("leaven"),
        )  # fmt: skip


def open_for(
    run: str | Path | Run,
    data: Any,
    *,
    encoder: Encoder | None = None,
    role: str | None = None,
    labels: Any = None,
    columns: Mapping[str, str] | None = None,
    groups: str | None = None,
    data_root: str | Path | None = None,
    say: Say = quiet,
    progress: Progress = quiet,
    reading: Mapping[str, Any] | None = None,
) -> Opened:
    """A run's encoder and the data that it reads.

    reading: of labels and splits (see `reading_of`); how samples are read is the encoder's. role: of one of several encoders, or, of a run that has
    one, the role of the data that it reads. encoder: where it is loaded already. Raises UserError where they do not fit each other.
    """
    run = Run.open(run)
    encoder = encoder or load_encoder_of(run, role if run.roles else None)
    options = encoder.modality.open_options(encoder.input)
    options = {**options, "reading": {**options.get("reading", {}), **(reading or {})}}
    source = encoder.modality.in_memory(data)
    opened = open_data(source, root=data_root, labels=labels, columns=columns, groups=groups, progress=partial(progress, "decoded"), **options)
    read = data_role(opened.spec, encoder, role)
    check_input(encoder, opened.spec.roles[read], where=opened.name)
    describe_unused(opened, say)
    return Opened(run, encoder, opened, read)


def needs_of(encoders: Iterable[Encoder]) -> dict[str, Any]:
    """How data must be opened for several encoders; of tables, they read the columns of all."""
    needs: dict[str, Any] = {}
    reading: dict[str, Any] = {}
    for encoder in encoders:
        needs |= (options := encoder.modality.open_options(encoder.input))
        for name, value in options.get("reading", {}).items():
            reading[name] = [*reading.get(name, ()), *value] if name == "table" else value
    return {**needs, "reading": reading}


def beside_of(names: Sequence[str | Path | Run], data: DataSet, opened: Callable[..., DataSet], modality: str) -> list[Beside]:
    """Trained models and the samples of this data as each of them reads them. opened: opens the data anew. modality: of the samples that they read.

    Raises UserError where a model is not there or does not read them.
    """
    input = next((spec for spec in data.spec.roles.values() if spec.modality == modality), None)
    if input is None:  # which the run's own encoder does not read either
        return []
    models = {str(name.path if isinstance(name, Run) else name): load_model(name, input) for name in names}
    return [Beside(name, model, data if model.modality.tokenized else opened(**needs_of([model]))) for name, model in models.items()]


def reading_of(settings: Mapping[str, Any] | None, *methods: type[Method], samples: bool = True) -> tuple[dict[str, Any], dict[str, Any]]:
    """Which settings say how data is read and split, and the others. What one of the methods calls its own is one of the others.

    samples: False where an encoder says how samples are read, so that only labels and splits are left.
    """
    kinds = (Reading, RecordingReading, LabelReading) if samples else (LabelReading,)
    names = {SPLIT, *(field.name for kind in kinds for field in fields(kind))}
    names -= {name for method in methods for name in hyperparameters(method)}
    parts = tuple({name: value for name, value in (settings or {}).items() if (name in names) == read} for read in (True, False))
    return parts[0], parts[1]


def describe_data(data: DataSet, say: Say) -> None:
    """Say what a data set holds, and what of it is not used."""
    splits = ", ".join(f"{len(rows):,} {name}" for name, rows in data.splits.items())
    kinds = [(find_modality(spec.modality), spec) for spec in data.spec.inputs.values()]
    inputs = ", ".join(" of ".join(filter(None, (modality.plural, modality.extent(spec)))) for modality, spec in kinds)
    labels = f"{data.spec.classes} classes, {data.spec.labeled:,} labels" if data.spec.classes else "no labels"
    labels = f"{len(data.spec.tag_names):,} tags of {data.spec.labeled:,} samples" if data.spec.tag_names else labels
    say(f"{data.name}: {len(data):,} samples ({splits}), {inputs}, {labels}")
    describe_unused(data, say)
    if data.undecoded:
        say("The cache cannot hold all samples (LEAVEN_CACHE_LIMIT): they are decoded whenever they are needed, which is slower.")
    if data.broken:
        first = data.broken[0]
        say(f"{len(data.broken)} broken set aside; the first: {first.file} ({first.why})")


def describe_unused(data: DataSet, say: Say) -> None:
    for note in data.notes:
        say(note)
    if data.unused:
        columns = any("column" in entry for entry in data.unused)
        say(f"not used: {', '.join(data.unused)}" + ("; --columns says which column plays which role" if columns else ""))


def counted(blocks: Iterator[Tensor], total: int, progress: Progress, task: str) -> Iterator[Tensor]:
    """The same blocks; their samples are counted as they pass."""
    done = 0
    for block in blocks:
        yield block
        done += len(block)
        progress(task, done, total)
