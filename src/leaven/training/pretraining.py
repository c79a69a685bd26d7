"""One run: from what the user asks for to a trained encoder on disk, going on where an earlier call stopped."""

import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import torch

from leaven.console import Progress, Say, deadline, quiet
from leaven.data import Batch, DataSet
from leaven.encoders import describe_encoder
from leaven.encoders.store import save_encoder, weights_digest
from leaven.errors import TrainingStopped
from leaven.modules.batchnorm import across_processes, has_batch_norm
from leaven.run import Run
from leaven.training.build import Parts, build_training
from leaven.training.checkpoint import Checkpoints, agree_with_earlier, alone_in, keep_samples, refuse_what_follows_samples
from leaven.training.devices import choose_device, describe_machine, launch
from leaven.training.distributed import processes, rank
from leaven.training.loop import Training
from leaven.training.plan import Plan
from leaven.training.precision import NAMES, choose_precision, fast_products, give_back_memory, keep_freed_memory
from leaven.training.request import Request
from leaven.training.streams import described, stream_choices, stream_of
from leaven.training.supervision import EarlyStopping, Supervision, labeled, write_record
from leaven.training.tokenization import keep_tokenizers
from leaven.training.trackers import Trackers


def describe(request: Request, parts: Parts, supervision: Supervision | None, precision: str) -> dict[str, Any]:
    """What identifies a training: a run is only continued by one that is described the same."""
    data, method, plan = parts.data, parts.method, parts.plan
    tokenizer = {name.removeprefix("tokenizer."): value for name, value in request.settings.items() if name.startswith("tokenizer.")}
    weights = {role: {"weights": weights_digest(source.folder)} for role, source in parts.sources.items() if source.folder}
    start: Any = weights if len(parts.sources) > 1 else next(iter(weights.values()), None)
    return {
        "method": {"name": method.name, "hyperparameters": method.config},
        "recipe": asdict(parts.recipe),
        "encoder": {name: describe_encoder(encoder) for name, encoder in method.encoders().items()},
        "given": {role: {key: described[key] for key in ("name", "arguments", "input")} for role, described in parts.encoders.items()},
        "data": {"name": data.name, "fingerprint": data.fingerprint, "spec": parts.spec.to_dict()},
        **({"tokenizer": tokenizer} if tokenizer else {}),
        **({"start": start} if start else {}),
        **({"teacher": {"weights": teacher}} if (teacher := method.teacher_weights()) else {}),
        **({"labels": {**supervision.to_dict(data), "patience": request.patience}} if supervision else {}),
        "length": {"budget": plan.budget, "steps": request.steps, "epochs": request.epochs, "batch": plan.batch},
        "seed": request.seed,
        "precision": precision,
        "accumulate": request.accumulate,
        **described(request, plan.batch),
        **({"snapshots": request.snapshots} if request.snapshots else {}),
    }


def train(
    request: Request,
    data: DataSet,
    folder: Run,
    *,
    supervision: Supervision | None = None,
    started: float | None = None,
    say: Say = quiet,
    progress: Progress = quiet,
    on_step: Callable[[int], object] = quiet,
) -> Run:
    """Train into a run's folder, or go on where an earlier call stopped. started: time.monotonic() from which a budget counts.

    supervision: the samples that train, if not all of the train split, and those that tell when to end.
    Raises UserError, TrainingStopped or Interrupted; the folder keeps the last good checkpoint.
    """
    started = started or time.monotonic()
    device = choose_device(request.device)
    precision, why = choose_precision(request.precision, device)
    fabric = launch(device, request.devices, NAMES[precision])
    if rank() > 0:
        say = progress = quiet
    with alone_in(folder):
        keep_freed_memory()
        if device == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
        parts = build_training(request, data, device, folder=folder, members=supervision.members if supervision else None)
        stream = stream_choices(request, parts.data, parts.plan.batch)
        method, plan, hashes, data, members = parts.method, parts.plan, data.hashes, parts.data, parts.members
        held_out = supervision.held_out if supervision else members[:0]
        choices = [{"what": "precision", "value": precision, "why": why}, *parts.choices, *stream, *(supervision.choices if supervision else [])]
        asked = describe(request, parts, supervision, precision)
        trackers = Trackers.of(request.track, folder, asked, say)
        config = agree_with_earlier(folder, asked, hashes, request, say)
        if config is not None and folder.finished:
            say(f"already finished: {folder.path}")
            return folder
        if config is not None:
            plan = Plan.from_dict(config["plan"])
            if config["asked"]["data"]["fingerprint"] != data.fingerprint:
                refuse_what_follows_samples(folder, method)
        elif rank() == 0:
            Checkpoints(folder.checkpoints).keep_newest(0)
            keep_samples(folder, hashes)
            keep_tokenizers(parts.tokenizers, folder)
            folder.write_config(
                {
                    "leaven": version("leaven"),
                    "versions": {"python": platform.python_version(), "torch": torch.__version__},
                    "machine": {**describe_machine(device), "processes": processes()},
                    "command": sys.argv,
                    "asked": asked,
                    **started_from(parts),
                    "choices": choices,
                    "plan": plan.to_dict(),
                    "result": None,
                }
            )
            if method.classifies or method.learns_labels:
                kept = list(method.encoders())
                read = kept[0] if len(kept) == 1 and kept[0] in data.spec.inputs else None  # the only input that will be tested on
                write_record(folder, data, labeled(data, members), held_out, data.hashes if read is None else data.hashes_of(read))
        for choice in choices:
            say(f"{choice['what']}: {choice['value']} ({choice['why']})")
        if has_batch_norm(method) and request.accumulate > 1:
            say("this model has batch norm, whose statistics follow the micro-batch: --accumulate changes it a little")
        if processes() > 1:
            across_processes(method)
        if precision == "fp64":
            method.double()
        rows = near(data, fabric.device)
        source = rows if request.stream is None else stream_of(request, data, rows, members, plan.batch)
        training = Training(
            method, parts.recipe, source, members, plan, folder, request, fabric.autocast, device=fabric.device,
            deadline=deadline(started, plan.budget),
            stopping=EarlyStopping(data.rows.select(held_out), request.patience) if len(held_out) else None,
            trackers=trackers if rank() == 0 else None, say=say, progress=progress, on_step=on_step,
        )  # fmt: skip
        try:
            with fast_products(device, precision):
                result = training.run()
            if not plan.steps:
                result |= {"samples": len(members), "samples_per_second": round(len(members) / max(result["seconds"], 1e-9), 1)}
        except TrainingStopped:
            if rank() == 0:
                verdicts = [verdict.to_dict() for verdict in training.monitor.verdicts]
                folder.update_config(asked=asked, stopped={"step": training.step, "health": verdicts})
            raise
        finally:
            trackers.close()
            give_back_memory()
        if rank() == 0:
            encoders = method.encoders()
            for name, encoder in encoders.items():
                save_encoder(folder.folder_of(name if len(encoders) > 1 else None), encoder.float() if precision == "fp64" else encoder)
            choices = [*folder.config["choices"], *result.pop("concluded", [])]
            folder.update_config(asked=asked, plan=plan.to_dict(), choices=choices, result=result)
        fabric.barrier()
    return folder


def started_from(parts: Parts) -> dict[str, Any]:
    """The runs whose encoders the training goes on from: a path, or one for each role; and which encoder of a run that keeps several."""
    runs = {role: (str(source.run.path), source.role) for role, source in parts.sources.items() if source.run}
    if len(parts.sources) > 1 and runs:
        return {"start": {role: path for role, (path, _) in runs.items()}, "start_role": {role: name for role, (_, name) in runs.items()}}
    path, name = next(iter(runs.values()), (None, None))
    return {"start": path, **({"start_role": name} if name else {})}


def near(data: DataSet, device: torch.device) -> Batch:
    """The samples, on the GPU where they leave most of its memory free."""
    fits = device.type == "cuda" and data.nbytes < 0.4 * torch.cuda.mem_get_info(device)[0]
    return data.rows.to(device) if fits else data.rows
