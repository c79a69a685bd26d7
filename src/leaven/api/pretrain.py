"""Train an encoder on data without labels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

from leaven.api import options
from leaven.api.open import describe_data, reading_of
from leaven.console import Progress, Say, begun, quiet, seconds
from leaven.data import open_data
from leaven.data.dataset import singly
from leaven.errors import TrainingStopped, UserError
from leaven.inspection.advice import choose_method
from leaven.inspection.cautions import constant_columns, order_line
from leaven.inspection.copies import visible_role
from leaven.inspection.taken_away import TakenAway
from leaven.methods.registry import find_method
from leaven.modalities import modality_of
from leaven.report.story import report_run
from leaven.run import Run
from leaven.training.devices import choose_device
from leaven.training.distributed import rank
from leaven.training.pretraining import train
from leaven.training.request import Request

SHORT, SHORT_STEPS = 120, 500  # seconds and steps of a trial, which is not held up by a look at the pictures
MANY_COPIES = 0.1  # share of the samples from which a line says so


@options.documented
def pretrain(
    data: options.Data,
    *,
    method: options.MethodName = "auto",
    encoder: options.EncoderName = "auto",
    out: Annotated[options.OptionalPath, "The run's folder (default leaven-runs/DATA-METHOD). The same command goes on where it stopped."] = None,
    budget: options.Budget = None,
    epochs: options.Epochs = None,
    steps: options.Steps = None,
    batch: options.Batch = None,
    size: options.Size = None,
    labels: options.Labels = None,
    columns: options.Columns = None,
    groups: options.Groups = None,
    settings: options.Settings = None,
    seed: options.Seed = 0,
    precision: options.Precision = "auto",
    device: options.Device = "auto",
    devices: options.Devices = 1,
    accumulate: options.Accumulate = 1,
    stream: options.StreamPolicy = None,
    buffer: options.Buffer = None,
    fresh: options.Fresh = None,
    snapshots: options.Snapshots = None,
    data_root: options.Root = None,
    keep_going: options.KeepGoing = False,
    accept_data: options.AcceptData = False,
    track: options.Track = (),
    checkpoint_seconds: options.CheckpointSeconds = 60.0,
    report: options.Report = True,
    say: Say = quiet,
    progress: Progress = quiet,
    on_step: Callable[[int], object] = quiet,
) -> Run:
    """Train an encoder on data without labels.

    With no length it trains for 10 minutes on a CPU, for 100 epochs on a GPU. Labels are only watched (a kNN curve), or used by semi-supervised
    methods. Raises UserError for wrong input, TrainingStopped when going on is useless, Interrupted after SIGTERM or Ctrl-C.
    """
    started = begun()
    kinds = [] if method == "auto" else [find_method(method)]
    for kind in kinds:
        if kind.continues and not kind.inherits:
            raise UserError(f"{kind.name} goes on from a trained encoder", hint=f"use `leaven {kind.name} RUN DATA`")
    reading, settings = reading_of(settings, *kinds)
    request = Request(
        method, encoder, seconds(budget), epochs, steps, batch, size, settings, seed, precision, device, devices, accumulate, keep_going,
        accept_data, checkpoint_seconds, tuple(track), stream=stream, buffer=buffer, fresh=fresh, snapshots=snapshots,
    )  # fmt: skip
    opened = open_data(
        data, root=data_root, size=size, labels=labels, columns=columns, groups=groups, reading=reading, progress=partial(progress, "decoded"),
        unpaired=any(kind.reads_unpaired for kind in kinds),
    )  # fmt: skip
    describe_data(opened, say)
    if method == "auto":
        chosen, why = choose_method(opened.spec, encoder)
        if not chosen:
            raise UserError(why, where=opened.name)
        say(f"method: {chosen} ({why}; --method chooses another)")
        request.method = chosen
    kind = find_method(request.method)
    copies = len(opened) - len(opened.hashes.unique())
    if len(opened) > 1 and copies == len(opened) - 1:
        say(f"all {len(opened):,} samples are the same: no model can learn to tell them apart")
    elif copies > MANY_COPIES * len(opened):
        say(f"{copies:,} of {len(opened):,} samples are copies of others: `leaven inspect` lists them")
    else:
        for role, value in opened.rows.roles.items():
            if same := modality_of(value).constant(value, opened.train()):
                say(constant_columns(same, opened.spec.roles[role].shape[0]))
    if (pooled := singly(opened, kind.inputs(opened.spec))) is not opened:
        say(f"{kind.name} reads one text at a time: it reads all texts of {', '.join(opened.rows.roles)}")
        opened = pooled
    shown = None if (request.steps or SHORT_STEPS) < SHORT_STEPS or (request.budget or SHORT) < SHORT else visible_role(opened)
    if shown is not None:
        for line in TakenAway.of(opened, shown, kind, settings, size).lines(kind, opened.spec.roles[shown].modality, settings):
            say(line)
    if line := order_line(opened.order):
        say(line)
    folder = Run(out or Path("leaven-runs") / f"{Path(opened.name).name.replace(':', '-')}-{kind.name.rpartition(':')[2]}")
    try:
        steps_done = partial(progress, "step")
        run = train(request, opened, folder, started=started, say=say, progress=steps_done, on_step=on_step)
    except TrainingStopped:
        if rank() == 0 and report:
            report_run(folder, opened)
        raise
    if rank() == 0 and report:
        report_run(run, opened, device=choose_device(device))
    return run
