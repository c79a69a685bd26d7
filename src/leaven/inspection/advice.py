"""What suits a data set: method and length, each with its reason; encoder and batch are chosen as `pretrain` chooses them."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leaven.data.spec import DataSpec
from leaven.errors import UserError
from leaven.inspection.estimate import Pace
from leaven.methods.method import Method
from leaven.methods.registry import find_method, registry
from leaven.methods.support import supported
from leaven.modalities import InputSpec, modality_of
from leaven.training.request import Request

LEAST = 8  # samples: with fewer there is nothing to train on
SEEN = {"cpu": 1_000_000, "cuda": 10_000_000}  # samples in all; on CIFAR-10, 20 passes on a CPU reached a linear probe of 73 %
PASSES = {"cpu": (20, 200), "cuda": (100, 800)}
BUDGETS = {f"{minutes}m": minutes * 60 for minutes in (1, 2, 3, 4, 5, 7, 10, 12, 15, 20, 25, 30, 40, 50, 60, 75, 90)}
BUDGETS |= {f"{hours}h": hours * 3600 for hours in (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24)}


def choose_length(pace: Pace) -> tuple[str, float, str]:
    """A budget (seconds) on a CPU, epochs on a GPU, and the reason: as many passes as make up for a small data set."""
    if pace.at_once:
        return "steps", 0, "this method is computed at once"
    place = pace.device if pace.device in PASSES else "cpu"
    least, most = PASSES[place]
    passes = min(most, max(least, round(SEEN[place] / pace.samples)))
    why = f"{passes} passes over {pace.samples:,} samples"
    if place != "cpu":
        return "epochs", passes, why
    needed = pace.seconds(pace.steps_of(passes))
    budget = next((budget for budget in BUDGETS.values() if training_time(budget) >= needed), max(BUDGETS.values()))
    return "budget", budget, f"{why} take {duration(needed)}"


def training_time(budget: float) -> float:
    """Seconds of a budget that `train` has for its steps: it keeps some for the start, the rehearsal and the report."""
    return budget - min(12.0, 0.03 * budget) - min(5.0, 0.05 * budget)


def choose_method(data: DataSpec, encoder: Any = "auto") -> tuple[str, str]:
    """The method that suits this data, and why; empty, and why none does, where none reads its roles. encoder: that the user asks for.

    Samples of one role have a usual method. For several roles it is the one for pairs of their modality, else one that reads at least two of them,
    else the usual one, where it can read the samples of all roles one at a time.
    """
    inputs = data.inputs
    modality = modality_of(next(iter(inputs.values())))
    single = modality.encoder_method if modality.encoder_method and encoder != "auto" else modality.method
    if len(inputs) == 1 or "x" in inputs:
        name, why = single
        return (name, why) if supported(find_method(name), modality.name) else ("", f"no method of this version learns from {modality.plural}")
    usual = modality.pair_method
    if usual is not None and roles_read(find_method(usual[0]), data):
        return usual
    for own in (True, False):  # methods for one modality before those for any
        for name, method in registry().items():
            roles = roles_read(method, data)
            fits = {spec.modality for role, spec in inputs.items() if role in roles} == {method.modality} if own else method.modality is None
            if fits and len(roles) > 1 and not method.continues and method.shapes_features:
                return name, f"it reads {' and '.join(roles)}"
    if any(modality_of(spec).tokenized for spec in inputs.values()):
        return single
    return "", f"no method reads the roles {', '.join(inputs)}; choose one of them with --columns x=COLUMN"


def roles_read(method: type[Method], data: DataSpec) -> list[str]:
    """The roles that a method reads of this data; none where it lacks one of them, or something else that the method needs."""
    try:
        roles = list(method.inputs(data))
    except UserError:
        return []
    return roles if set(roles) <= set(data.inputs) else []


def advise(request: Request, pace: Pace, spec: InputSpec, given: Mapping[str, Any], why_method: str) -> tuple[dict[str, Any], int]:
    """method, encoder, batch, size, and one of budget, epochs and steps; why, for each; beside, names of public models; command. With them the steps
    that this comes to."""
    chosen = {choice["what"].partition(" ")[0]: choice["why"] for choice in pace.choices}  # of several encoders, the last one's
    given_length = next((kind for kind in ("budget", "epochs", "steps") if getattr(request, kind) is not None), None)
    kind, length, why = (given_length, getattr(request, given_length), "asked for") if given_length else choose_length(pace)
    steps = int(length) if kind == "steps" else pace.steps_of(length) if kind == "epochs" else pace.steps_in(training_time(length))
    modality = modality_of(spec)
    native, size = (modality.open_options(input).get("size") for input in (spec, modality.training_input(spec, request.size)))
    reasons = {
        "method": why_method,
        "encoder": chosen.get("encoder", "asked for" if given.get("encoder") else "the method brings its own"),
        "batch": "asked for" if request.batch else chosen.get("batch", f"the recipe of {pace.method}"),
        "size": "asked for" if request.size else "the pictures' own size" if size == native else "larger pictures are trained on at this size",
        kind: why,
    }
    advised = {"method": pace.method, "encoder": pace.encoder, "batch": pace.batch, "size": size, "budget": None, "epochs": None, "steps": None}
    shown = written(length) if kind == "budget" else length
    if given.get("method") is None and pace.method != Request.method:
        given = {"data": given["data"], "method": pace.method, **{name: value for name, value in given.items() if name not in ("data", "method")}}
    line = command(given if pace.at_once else {**given, kind: shown})
    return {**advised, kind: shown, "why": reasons, "beside": modality.usual_models(pace.device), "command": line}, steps


def command(given: Mapping[str, Any]) -> str:
    """The `leaven pretrain` that does as advised; for data that has no name, the call in Python."""
    options = {name: value for name, value in given.items() if value is not None and name != "data"}
    if isinstance(method := options.get("method"), type):
        options["method"] = find_method(method).name
    if not isinstance(given["data"], str | os.PathLike):
        return f"leaven.pretrain(data, {', '.join(f'{name}={value!r}' for name, value in options.items())})"
    words = ["leaven", "pretrain", str(given["data"])]
    for name, value in options.items():
        if isinstance(value, Mapping):
            pairs = [f"{key}={part}" for key, part in value.items()]
            words += ["--columns", ",".join(pairs)] if name == "columns" else [word for pair in pairs for word in ("--set", pair)]
        elif name != "data_root" or Path(value) != Path(os.environ.get("LEAVEN_DATA", "")):
            words += [f"--{name.replace('_', '-')}", f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)


def written(budget: float) -> str:
    """Seconds as a budget is given: 10m, 2h, 45s."""
    return next((name for name, seconds in BUDGETS.items() if seconds == budget), f"{budget:g}s")


def duration(seconds: float) -> str:
    """A time for people, to two digits or so: 4.0 s, 40 s, 3.5 min, 12 min, 3.5 h."""
    number, unit = (seconds, "s") if seconds < 90 else (seconds / 60, "min") if seconds < 5400 else (seconds / 3600, "h")
    return f"{number:.1f} {unit}" if number < 9.95 else f"{number:.0f} {unit}"
