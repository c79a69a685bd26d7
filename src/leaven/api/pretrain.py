"""Train an encoder on data without labels."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from leaven.api.console import describe_data
from leaven.console import Progress, Say, quiet, seconds
from leaven.data import open_data
from leaven.data.dataset import singly
from leaven.errors import TrainingStopped, UserError
from leaven.inspection.cautions import told_constant
from leaven.methods.method import Method
from leaven.methods.registry import find_method
from leaven.modalities import modality_of
from leaven.report.story import report_run
from leaven.run import Run, read_json
from leaven.training.devices import choose_device
from leaven.training.distributed import rank
from leaven.training.pretraining import Request, train

MANY_COPIES = 0.1  # of the samples, from which on they are told of


def pretrain(
    data: Any,
    *,
    method: str | type[Method] = "simclr",
    encoder: str = "auto",
    out: str | Path | None = None,
    budget: str | float | None = None,
    epochs: float | None = None,
    steps: int | None = None,
    batch: int | None = None,
    size: int | None = None,
    labels: Any = None,
    columns: Mapping[str, str] | None = None,
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
    report: bool = True,
    say: Say = quiet,
    progress: Progress = quiet,
) -> Run:
    """Train an encoder on unlabeled data, into the folder `out` (default: leaven-runs/DATA-METHOD).

    data: a folder, file, named data set, array or DataSet (see `leaven.data.open_data`). encoder: auto, one of Leaven's, a model of timm (pictures)
    or transformers (text; a name or a folder), or the folder of a run whose encoder this training goes on from. budget: a time such as "10m"; or
    epochs; or steps. settings: hyper-parameters by name; "views.", "recipe." and "encoder." reach into parts. labels are only watched (a kNN curve),
    or used by semi-supervised methods. The same call with the same `out` goes on where it stopped. track: "tensorboard" or "wandb", which then get
    the rows of metrics.jsonl as well. report: write report.html in the end, some seconds.

    Raises UserError for wrong input, TrainingStopped when going on is useless, Interrupted after SIGTERM or Ctrl-C.
    """
    started = time.monotonic()
    kind = find_method(method)
    if kind.continues:
        raise UserError(f"{kind.name} goes on from a trained encoder", hint=f"use `leaven {kind.name} RUN DATA`")
    opened = open_data(data, root=data_root, size=size, labels=labels, columns=columns, progress=partial(progress, "decoded"))
    describe_data(opened, say)
    copies = len(opened) - len(opened.hashes.unique())
    if len(opened) > 1 and copies == len(opened) - 1:
        say(f"all {len(opened):,} samples are the same: nothing can be learned that tells them apart")
    elif copies > MANY_COPIES * len(opened):
        say(f"{copies:,} of {len(opened):,} samples are copies of others: `leaven inspect` lists them")
    elif "x" in opened.rows.roles and (same := modality_of(opened.rows["x"]).constant(opened.rows["x"], opened.train())):
        say(told_constant(same, opened.spec.roles["x"].shape[0]))
    if (pooled := singly(opened, kind.inputs(opened.spec))) is not opened:
        say(f"{kind.name} reads one text at a time: those of {', '.join(opened.rows.roles)} are all read")
        opened = pooled
    folder = Run(out or Path("leaven-runs") / f"{Path(opened.name).name.replace(':', '-')}-{kind.name.rpartition(':')[2]}")
    start = Run.open(encoder) if is_run(Path(encoder)) else None
    request = Request(
        method, encoder if start is None else "auto", seconds(budget), epochs, steps, batch, size, dict(settings or {}), seed, precision, device,
        devices, accumulate, keep_going, accept_data, checkpoint_seconds, tuple(track), start,
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


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run, and not of a model of another library, which has a config.json as well."""
    return (folder / "config.json").is_file() and "asked" in read_json(folder / "config.json")
