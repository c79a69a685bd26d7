"""From what the user asked for to a configuration, and from a configuration to a trained run."""

from __future__ import annotations

import math
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, get_type_hints

import torch

from leaven.data import Batch, DataSet
from leaven.data.spec import DataSpec
from leaven.draw import seed_of
from leaven.encoders import OWN, Encoder, build_encoder, choose_encoder, describe_encoder
from leaven.encoders.store import load_encoder, save_encoder, weights_digest
from leaven.encoders.timm import Timm
from leaven.errors import TrainingStopped, UserError
from leaven.methods.method import Method, Recipe
from leaven.methods.registry import build_method, convert, find_method, given_arguments, hyperparameters
from leaven.modalities import InputSpec, modality_of
from leaven.modalities.tokenizer import Tokenizer
from leaven.modules.batchnorm import across_processes, has_batch_norm
from leaven.run import Run
from leaven.training.checkpoint import Checkpoints
from leaven.training.continuing import agree_with_earlier, alone_in
from leaven.training.devices import choose_device, describe_machine, launch
from leaven.training.distributed import processes, rank
from leaven.training.early_stopping import EarlyStopping
from leaven.training.loop import Settings, Training
from leaven.training.plan import Plan
from leaven.training.precision import NAMES, choose_precision, fast_products, give_back_memory, keep_freed_memory
from leaven.training.supervision import Supervision, labeled, write_record
from leaven.training.tokenization import in_tokens, keep_tokenizer, split_settings
from leaven.training.trackers import Trackers

if TYPE_CHECKING:
    from lightning_fabric import Fabric

DEFAULT_BUDGET, DEFAULT_EPOCHS = 600.0, 100
USUAL_PASSES = 10  # where a recipe has a usual number of steps, and there are more samples than these see so often


@dataclass
class Request:
    """What a user may say of a training. Lengths: at most one of budget (seconds), epochs and steps.

    start: a run whose encoder the training goes on from. patience: looks at held-out samples without gain after which it ends.
    """

    method: str | type[Method] = "simclr"
    encoder: str = "auto"
    budget: float | None = None
    epochs: float | None = None
    steps: int | None = None
    batch: int | None = None
    size: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    precision: str = "auto"
    device: str = "auto"
    devices: int = 1
    accumulate: int = 1
    keep_going: bool = False
    accept_data: bool = False
    checkpoint_seconds: float = 60.0
    track: tuple[str, ...] = ()
    start: Run | None = None
    patience: int = 10


def input_of(spec: InputSpec, size: int | None) -> InputSpec:
    """What an encoder is built for: the stored samples at the training size."""
    return modality_of(spec).training_input(spec, size)


def as_read(kind: type[Method], data: DataSpec, size: int | None) -> DataSpec:
    """The data as a method's networks read it: one that brings its own is told of pictures of the training size, not of that they are stored in."""
    if {"encoder", "encoders"} & set(given_arguments(kind)):
        return data
    return replace(data, roles={role: input_of(spec, size) for role, spec in data.roles.items()})


def build(request: Request, data: DataSpec, device: str, tokenizer: Tokenizer | None = None) -> tuple[Method, Recipe, list[dict[str, Any]]]:
    """The method around fresh encoders, its recipe, and the choices that were made for `auto`. tokenizer: by which the data's texts became tokens."""
    kind = find_method(request.method)
    inputs = kind.inputs(data)
    for role in inputs:
        if role not in data.roles:
            raise UserError(
                f"{kind.name} needs the role {role!r}, and the data has {', '.join(data.roles)}", hint="say which column plays it with --columns"
            )
    first = next(iter(inputs))
    if kind.modality is not None and (found := data.roles[first].modality) != kind.modality:
        raise UserError(f"{kind.name} learns from {kind.modality}, and this data is {found}", hint="see `leaven methods` for one that fits")
    choices: list[dict[str, Any]] = []
    _, settings = split_settings(request.settings)
    arguments = {name.removeprefix("encoder."): value for name, value in settings.items() if name.startswith("encoder.")}
    rest = {name: value for name, value in settings.items() if not name.startswith("encoder.")}
    if request.start is not None and arguments:
        raise UserError(f"the encoder is that of the run and has no {sorted(arguments)[0]!r} to set", where=request.start.path)
    encoders: dict[str, Encoder] = {}
    torch.manual_seed(seed_of(request.seed, "weights"))
    given = given_arguments(kind)
    if "encoder" in given or "encoders" in given:
        for role in inputs if "encoders" in given else [first]:
            if request.start is not None:
                encoders[role] = load_encoder(request.start.encoder_folder)
                continue
            spec = input_of(data.roles[role], request.size)
            name = request.encoder
            if name == "auto":
                name, why = choose_encoder(spec, inputs[role], device)
                choices.append({"what": "encoder" if len(inputs) == 1 else f"encoder of {role}", "value": name, "why": why})
            encoders[role] = build_encoder(name, spec, arguments_of(name, arguments))
            if inputs[role] not in encoders[role].offers:
                raise UserError(
                    f"{kind.name} needs an encoder with {inputs[role]}, and {name} offers {', '.join(encoders[role].offers)}",
                    hint="leave --encoder out",
                )
    elif request.encoder != "auto":
        raise UserError(f"{kind.name} brings its own networks", hint="leave --encoder out")
    read = as_read(kind, data, request.size)
    taken = [encoder.input for encoder in encoders.values()] or ([read.roles[first]] if "views" in hyperparameters(kind) else [])
    size = next((side for input in taken if (side := modality_of(input).side(input)) is not None), None)
    settings = dict(rest)
    if size is not None and len(inputs) == 1 and data.roles[first].shape[1:] != (size, size):
        settings.setdefault("views.size", size)
    method, recipe = build_method(kind, read, encoders, settings)
    attach(tokenizer, method)
    return method, recipe, choices


def attach(tokenizer: Tokenizer | None, method: Method) -> None:
    """Encoders of text read it by this tokeniser."""
    for encoder in method.encoders().values():
        if isinstance(encoder, Encoder) and encoder.modality.tokenized:
            encoder.tokenizer = tokenizer


def arguments_of(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """An encoder's arguments, perhaps texts of `--set`, as the types that it takes. Those that it does not know are left as they are."""
    kinds = get_type_hints((OWN.get(name) or Timm).__init__)  # those of models of transformers have the same types
    return {key: convert(value, kinds[key], f"encoder.{key}") if key in kinds else value for key, value in given.items()}


def plan_of(request: Request, recipe: Recipe, samples: int, device: str) -> tuple[Plan, list[dict[str, Any]]]:
    """The length in steps where it is known, else with its budget; and the choices made."""
    choices = []
    parts = processes() * request.accumulate
    batch = request.batch or recipe.batch
    if samples < 2:
        raise UserError(f"{samples} sample is too few to learn from", hint="give data with more samples")
    if request.batch is None and batch > samples:
        batch = max(parts, samples // parts * parts)
        choices.append({"what": "batch", "value": batch, "why": f"there are {samples} samples"})
    if batch > samples:
        raise UserError(f"{samples} samples do not fill a batch of {batch}", hint=f"use --batch {samples}")
    if sum(length is not None for length in (request.budget, request.epochs, request.steps)) > 1:
        raise UserError("give one of --budget, --epochs and --steps")
    budget, epochs, steps = request.budget, request.epochs, request.steps
    if budget is None and epochs is None and steps is None:
        if recipe.steps is not None:
            steps = max(recipe.steps, math.ceil(USUAL_PASSES * samples / batch))
            why = f"no length was given, and there are {samples:,} samples; change it with --budget, --epochs or --steps"
            choices.append({"what": "length", "value": f"{steps} steps", "why": why})
        elif device == "cpu":
            budget = DEFAULT_BUDGET
            choices.append(
                {"what": "length", "value": "10 minutes", "why": "no length was given, on a CPU; change it with --budget, --epochs or --steps"}
            )
        else:
            epochs = DEFAULT_EPOCHS
            choices.append(
                {"what": "length", "value": "100 epochs", "why": "no length was given, on a GPU; change it with --budget, --epochs or --steps"}
            )
    steps = steps or (0 if epochs is None else max(1, math.ceil(epochs * samples / batch)))
    return Plan(steps, batch, budget), choices


def describe(
    request: Request, method: Method, recipe: Recipe, plan: Plan, data: DataSet, spec: DataSpec, used: Supervision | None, precision: str
) -> dict[str, Any]:
    """What identifies a training: a run is only continued by one that is described the same."""
    start = {} if request.start is None else {"start": {"weights": weights_digest(request.start.encoder_folder)}}
    of_tokenizer, _ = split_settings(request.settings)
    labels = {} if used is None else {"labels": {**used.to_dict(data), "patience": request.patience}}
    return {
        "method": {"name": method.name, "hyperparameters": method.config},
        "recipe": asdict(recipe),
        "encoder": {name: describe_encoder(encoder) for name, encoder in method.encoders().items()},
        "data": {"name": data.name, "fingerprint": data.fingerprint, "spec": spec.to_dict()},
        **({"tokenizer": of_tokenizer} if of_tokenizer else {}),
        **start,
        **labels,
        "length": {"budget": plan.budget, "steps": request.steps, "epochs": request.epochs, "batch": plan.batch},
        "seed": request.seed,
        "precision": precision,
        "accumulate": request.accumulate,
    }


def train(
    request: Request,
    data: DataSet,
    folder: Run,
    *,
    used: Supervision | None = None,
    started: float | None = None,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int, float], object] = lambda step, total, loss: None,
    on_step: Callable[[int], object] = lambda step: None,
) -> Run:
    """Train as asked into a run's folder, going on where an earlier call stopped. `started`: time.monotonic() from which a budget counts.

    used: the samples that train, if not all of the train split, and those that tell when to end.
    Raises UserError, TrainingStopped or Interrupted; the folder keeps the last good checkpoint.
    """
    device = choose_device(request.device)
    precision, why = choose_precision(request.precision, device)
    fabric = launch(device, request.devices, NAMES[precision])
    if rank() > 0:
        say, progress = (lambda line: None), (lambda step, total, loss: None)
    with alone_in(folder):
        return _train(request, data, folder, fabric, device, (precision, why), used, started or time.monotonic(), say, progress, on_step)


def _train(
    request: Request,
    data: DataSet,
    folder: Run,
    fabric: Fabric,
    device: str,
    chosen: tuple[str, str],
    used: Supervision | None,
    started: float,
    say: Callable[[str], None],
    progress: Callable[[int, int, float], object],
    on_step: Callable[[int], object],
) -> Run:
    precision, why = chosen
    choices = [{"what": "precision", "value": precision, "why": why}]
    keep_freed_memory()
    if device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
    data, tokenizer, made = in_tokens(request, data, folder)
    members = data.train() if used is None else used.members
    choices += made
    spec = data.spec_of(members)
    method, recipe, built = build(request, spec, device, tokenizer)
    plan, planned = plan_of(request, recipe, len(members), device)
    choices += built + planned + (used.choices if used else [])
    asked = describe(request, method, recipe, plan, data, as_read(type(method), spec, request.size), used, precision)
    trackers = Trackers.of(request.track, folder, asked, say)
    config = agree_with_earlier(folder, asked, request.accept_data, say)
    if config is not None and folder.finished:
        say(f"already finished: {folder.path}")
        return folder
    if config is None:
        config = {
            "leaven": version("leaven"),
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            "machine": {**describe_machine(device), "processes": processes()},
            "command": sys.argv,
            "asked": asked,
            "start": str(request.start.path) if request.start else None,
            "choices": choices,
            "plan": plan.to_dict(),
            "result": None,
        }
        if rank() == 0:
            Checkpoints(folder.checkpoints).keep_newest(0)
            if tokenizer is not None:
                keep_tokenizer(tokenizer, folder)
            folder.write_config(config)
            if method.classifies or method.learns_labels:
                write_record(folder, data, labeled(data, members), used.held_out if used else members[:0])
    else:
        plan = Plan.from_dict(config["plan"])
    for choice in choices:
        say(f"{choice['what']}: {choice['value']} ({choice['why']})")
    if has_batch_norm(method) and request.accumulate > 1:
        say("this model has batch norm, whose statistics follow the micro-batch: --accumulate changes it a little")
    if processes() > 1:
        across_processes(method)
    if precision == "fp64":
        method.double()
    if plan.budget is not None:
        reserve = min(12.0, 0.03 * plan.budget)
        deadline = started + plan.budget - reserve
    settings = Settings(
        request.seed, request.accumulate, request.keep_going, request.checkpoint_seconds, deadline if plan.budget is not None else None, fabric.device
    )

    def save_plan(plan: Plan) -> None:
        if rank() == 0:
            folder.write_config({**folder.config, "plan": plan.to_dict()})

    stopping = EarlyStopping(data.rows.select(used.held_out), request.patience) if used and len(used.held_out) else None
    training = Training(
        method, recipe, near(data, fabric.device), members, plan, folder, settings, fabric.autocast, say=say, progress=progress, save_plan=save_plan,
        trackers=trackers if rank() == 0 else None, stopping=stopping, on_step=on_step,
    )  # fmt: skip
    try:
        with fast_products(device, precision):
            result = training.run()
    except TrainingStopped:
        if rank() == 0:
            verdicts = [verdict.to_dict() for verdict in training.monitor.verdicts]
            folder.write_config({**folder.config, "stopped": {"step": training.step, "health": verdicts}})
        raise
    finally:
        trackers.close()
        give_back_memory()
    if rank() == 0:
        encoders = method.encoders()
        for name, encoder in encoders.items():
            keep = folder.encoder_folder if len(encoders) == 1 else folder.encoder_folder / name
            save_encoder(keep, encoder.float() if precision == "fp64" else encoder)
        folder.write_config({**folder.config, "plan": plan.to_dict(), "result": result})
    fabric.barrier()
    return folder


def near(data: DataSet, device: torch.device) -> Batch:
    """The samples, on the GPU where they leave most of its memory free."""
    fits = device.type == "cuda" and data.nbytes < 0.4 * torch.cuda.mem_get_info(device)[0]
    return data.rows.to(device) if fits else data.rows
