"""What the commands share: runs, encoders and data opened for each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from leaven.console import Progress
from leaven.data import DataSet, open_data
from leaven.encoders import Encoder, describe_encoder
from leaven.evaluation.abilities import able as able
from leaven.evaluation.features import check_input
from leaven.modalities import Value
from leaven.run import Run
from leaven.training.trained import load_encoder_of
from leaven.vectors import Origin


def opened(
    run: Run,
    data: Any,
    role: str | None,
    labels: Any,
    columns: Mapping[str, str] | None,
    data_root: str | Path | None,
    progress: Progress,
) -> tuple[Encoder, DataSet, Value, str]:
    """The encoder, the data as it reads it, its input, and the role that this input plays in the data."""
    encoder = load_encoder_of(run, role)
    options = {"labels": labels, "columns": columns, **encoder.modality.open_options(encoder.input)}
    samples = open_data(data, root=data_root, progress=partial(progress, "decoded"), **options)
    part = role if role in samples.rows.roles else next(iter(samples.rows.roles))
    check_input(encoder, samples.spec.roles[part], samples.name)
    return encoder, samples, samples.rows[part], part


def origin_of(run: Run, encoder: Encoder, data: DataSet, part: str, precision: str, shard_size: int | None = None) -> Origin:
    name = describe_encoder(encoder)["name"]
    return Origin.of(encoder=encoder, data=data, dim=encoder.dim, shard_size=shard_size, run=str(run.path), name=name, role=part, precision=precision)


def counted(blocks: Iterator[Tensor], total: int, progress: Callable[[int, int], object]) -> Iterator[Tensor]:
    done = 0
    for block in blocks:
        yield block
        done += len(block)
        progress(done, total)
