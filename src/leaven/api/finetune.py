"""Train a classifier on a few labels, from an encoder that learned without them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from leaven.api.console import describe_data
from leaven.console import Progress, Say, quiet, seconds
from leaven.data import open_data
from leaven.errors import UserError
from leaven.evaluation.features import check_input
from leaven.report.story import report_run
from leaven.run import Run
from leaven.training import pretraining
from leaven.training.devices import choose_device
from leaven.training.distributed import rank
from leaven.training.supervision import supervision
from leaven.training.trained import load_encoder_of


def finetune(
    run: str | Path | Run,
    data: Any,
    *,
    labels: Any = None,
    columns: Mapping[str, str] | None = None,
    out: str | Path | None = None,
    train: str = "all",
    budget: str | float | None = None,
    epochs: float | None = None,
    steps: int | None = None,
    batch: int | None = None,
    all_labels: bool | None = None,
    early_stopping: bool | None = None,
    patience: int = 10,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    precision: str = "auto",
    device: str = "auto",
    devices: int = 1,
    accumulate: int = 1,
    data_root: str | Path | None = None,
    keep_going: bool = False,
    accept_data: bool = False,
    track: Sequence[str] = (),
    checkpoint_seconds: float = 60.0,
    say: Say = quiet,
    progress: Progress = quiet,
) -> Run:
    """Train a classifier on labels, from the encoder of a run, into the folder `out` (default: leaven-runs/DATA-finetune), which is a run as well.

    data, labels: those of the train split are learned from; where there is no split, a fifth is kept for `evaluate`. all_labels: learn from that
    fifth too (None: if there are too few labels to keep any). train: "all", "last:N" (the last N blocks of the encoder) or "head" (the classifier
    alone). budget, epochs or steps: how long; with none of them, as long as suits the number of labels. early_stopping: hold out a fifth of the
    labels, keep the state that meets them best, and end after `patience` looks without gain (None: where there are enough labels).
    settings: hyper-parameters of the method `finetune` by name (layer_decay, class_weights, ...); "views." and "recipe." reach into parts.

    Raises UserError for wrong input, such as a single class or data that the run's encoder does not read.
    """
    started = time.monotonic()
    before = run if isinstance(run, Run) else Run.open(run)
    encoder = load_encoder_of(before)
    if patience < 1:
        raise UserError(f"patience must be at least 1 look, not {patience}")
    options = encoder.modality.open_options(encoder.input)
    samples = open_data(data, root=data_root, labels=labels, columns=columns, progress=partial(progress, "decoded"), **options)
    describe_data(samples, say)
    check_input(encoder, samples.spec.roles["x"], where=samples.name)
    used = supervision(samples, all_labels=all_labels, early_stopping=early_stopping)
    folder = Run(out or Path("leaven-runs") / f"{Path(samples.name).name.replace(':', '-')}-finetune")
    request = pretraining.Request(
        "finetune", budget=seconds(budget), epochs=epochs, steps=steps, batch=batch, settings={"train": train, **(settings or {})}, seed=seed,
        precision=precision, device=device, devices=devices, accumulate=accumulate, keep_going=keep_going, accept_data=accept_data,
        checkpoint_seconds=checkpoint_seconds, track=tuple(track), start=before, patience=patience,
    )  # fmt: skip
    made = pretraining.train(request, samples, folder, used=used, started=started, say=say, progress=partial(progress, "step"))
    if rank() == 0:
        report_run(made, samples, device=choose_device(device))
    return made
