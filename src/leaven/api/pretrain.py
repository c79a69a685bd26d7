"""Train an encoder on data without labels."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

from leaven.api.console import Progress, Say, quiet, seconds
from leaven.api.open import describe_data
from leaven.api.options import (
    AcceptData,
    Accumulate,
    Batch,
    Budget,
    CheckpointSeconds,
    Columns,
    Data,
    Device,
    Devices,
    EncoderName,
    Epochs,
    KeepGoing,
    Labels,
    MethodName,
    Option,
    Precision,
    Report,
    Root,
    Seed,
    Settings,
    Size,
    Steps,
    Track,
    documented,
)
from leaven.data import DataSet, open_data
from leaven.data.dataset import stacked
from leaven.errors import TrainingStopped, UserError
from leaven.inspection.cautions import told_constant
from leaven.methods.registry import find_method
from leaven.modalities import modality_of
from leaven.report.story import report_run
from leaven.run import Run
from leaven.training.devices import choose_device
from leaven.training.distributed import rank
from leaven.training.pretraining import train
from leaven.training.request import Request

MANY_COPIES = 0.1  # share of the samples from which a line says so


@documented
def pretrain(
    data: Data,
    *,
    method: MethodName = "simclr",
    encoder: EncoderName = "auto",
    out: Annotated[
        Path | str | None, Option("The run's folder (default leaven-runs/DATA-METHOD). The same command goes on where it stopped.")
    ] = None,
    budget: Budget = None,
    epochs: Epochs = None,
    steps: Steps = None,
    batch: Batch = None,
    size: Size = None,
    labels: Labels = None,
    columns: Columns = None,
    settings: Settings = None,
    seed: Seed = 0,
    precision: Precision = "auto",
    device: Device = "auto",
    devices: Devices = 1,
    accumulate: Accumulate = 1,
    data_root: Root = None,
    keep_going: KeepGoing = False,
    accept_data: AcceptData = False,
    track: Track = (),
    checkpoint_seconds: CheckpointSeconds = 60.0,
    report: Report = True,
    say: Say = quiet,
    progress: Progress = quiet,
) -> Run:
    """Train an encoder on data without labels.

    With no length it trains for 10 minutes on a CPU, for 100 epochs on a GPU. Labels are only watched (a kNN curve), or used by semi-supervised
    methods. Raises UserError for wrong input, TrainingStopped when going on is useless, Interrupted after SIGTERM or Ctrl-C.
    """
    started = time.monotonic()
    kind = find_method(method)
    if kind.continues:
        raise UserError(f"{kind.name} goes on from a trained encoder", hint=f"use `leaven {kind.name} RUN DATA`")
    opened = open_data(data, root=data_root, size=size, labels=labels, columns=columns, progress=partial(progress, "decoded"))
    describe_data(opened, say)
    copies = len(opened) - len(opened.hashes.unique())
    if len(opened) > 1 and copies == len(opened) - 1:
        say(f"all {len(opened):,} samples are the same: no model can learn to tell them apart")
    elif copies > MANY_COPIES * len(opened):
        say(f"{copies:,} of {len(opened):,} samples are copies of others: `leaven inspect` lists them")
    else:
        for role, value in opened.rows.roles.items():
            if same := modality_of(value).constant(value, opened.train()):
                say(told_constant(same, opened.spec.roles[role].shape[0]))
    if (pooled := singly(opened, kind.inputs(opened.spec))) is not opened:
        say(f"{kind.name} reads one text at a time: it reads all texts of {', '.join(opened.rows.roles)}")
        opened = pooled
    folder = Run(out or Path("leaven-runs") / f"{Path(opened.name).name.replace(':', '-')}-{kind.name.rpartition(':')[2]}")
    request = Request(
        method, encoder, seconds(budget), epochs, steps, batch, size, dict(settings or {}), seed, precision, device, devices, accumulate, keep_going,
        accept_data, checkpoint_seconds, tuple(track),
    )  # fmt: skip
    try:
        run = train(request, opened, folder, started=started, say=say, progress=lambda step, total, loss: progress("step", step, total, loss))
    except TrainingStopped:
        if rank() == 0 and report:
            report_run(folder, opened)
        raise
    if rank() == 0 and report:
        report_run(run, opened, device=choose_device(device))
    return run


def singly(data: DataSet, inputs: Mapping[str, str]) -> DataSet:
    """Texts of several roles one after another, for a method that reads them one at a time; other data unchanged."""
    texts = {role: value for role, value in data.rows.roles.items() if modality_of(value).tokenized}
    if list(inputs) != ["x"] or "x" in data.rows.roles or len(texts) < len(data.rows.roles):
        return data
    return stacked(data.name, {role: data.with_role(role, "x") for role in texts})
