"""From what a user asks for, and data, to everything that a training needs."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from leaven.data import DataSet
from leaven.data.spec import DataSpec
from leaven.draw import seed_of
from leaven.encoders.build import build_encoder, choose_encoder, describe_encoder, encoders_with
from leaven.encoders.encoder import Encoder
from leaven.encoders.public import is_model, load_model
from leaven.errors import UserError
from leaven.methods.method import Method, Recipe
from leaven.methods.registry import build_method, find_method, provided_arguments, registry
from leaven.methods.support import inputs_of, makes_views, methods_for
from leaven.modalities import InputSpec, modality_of
from leaven.modalities.tokenizer import Tokenizer
from leaven.run import Run
from leaven.training.distributed import processes
from leaven.training.inheritance import Inheritance
from leaven.training.plan import MOST_STEPS, Plan
from leaven.training.request import Request, Source, sources
from leaven.training.streams import steps_of
from leaven.training.tokenization import attach, in_tokens
from leaven.training.trained import load_encoder_of, trained_method

DEFAULT_BUDGET, DEFAULT_EPOCHS = 600.0, 100
USUAL_PASSES = 10  # where a recipe has a usual number of steps, and there are more samples than these see so often


@dataclass(frozen=True)
class Parts:
    """Everything that a training needs.

    data: with texts in tokens. members: the samples that train. spec: what the method knows of them. sources: where each encoder comes from, by
    role. encoders: descriptions of the encoders that the method was built with, by role; it may keep others. choices: what `auto` chose, and why.
    """

    method: Method
    recipe: Recipe
    plan: Plan
    data: DataSet
    members: Tensor
    spec: DataSpec
    sources: dict[str, Source]
    encoders: dict[str, dict[str, Any]]
    tokenizers: dict[str, Tokenizer]
    choices: list[dict[str, Any]]


def build_training(
    request: Request,
    data: DataSet,
    device: str,
    *,
    folder: Run | None = None,
    members: Tensor | None = None,
    make_encoder: Callable[[], Encoder] | None = None,
) -> Parts:
    """Raises UserError where method, encoders and data do not fit each other.

    data: as it was opened. folder: of the run, which may hold tokenisers already. members: the samples that train (None: those of the train split).
    make_encoder: makes the encoder, where the request does not say which.
    """
    kind = find_method(request.method)
    inputs = inputs_of(kind, data.spec, data.columns)
    parameters = provided_arguments(kind)
    first = next(iter(inputs))
    reads = {role: [role] for role in inputs} if "encoders" in parameters else {first: list(inputs)}
    origins = sources(request, {role: data.spec.roles[role].modality for role in reads})
    data, tokenizers, choices = in_tokens(request, data, kind, origins, reads, folder)
    members = data.train() if members is None else members
    spec = data.spec_of(members)
    torch.manual_seed(seed_of(request.seed, "weights"))
    encoders: dict[str, Encoder] = {}
    if {"encoder", "encoders"} & set(parameters):
        for role in reads:
            encoders[role], chosen = encoder_for(kind, origins[role], input_of(spec.roles[role], request.size), inputs[role], device, make_encoder)
            choices += [{"what": "encoder" if len(reads) == 1 else f"encoder of {role}", **chosen}] if chosen else []
    else:
        spec = replace(spec, roles={role: input_of(input, request.size) for role, input in spec.roles.items()})
        if any(source.name != "auto" for source in origins.values()):
            raise UserError(f"{kind.name} brings its own networks", hint="leave --encoder out")
    settings = {name: value for name, value in request.settings.items() if not name.startswith(("encoder.", "tokenizer."))}
    inherited = Inheritance.of(kind, origins) if kind.inherits else None
    if inherited is not None:
        encoders |= inherited.others
        tokenizers |= {role: encoder.tokenizer for role, encoder in inherited.others.items() if encoder.tokenizer is not None}
        settings = inherited.settled(settings)
    read = [encoder.input for encoder in encoders.values()] or ([spec.roles[first]] if makes_views(kind) else [])
    sides = [modality_of(input).open_options(input).get("size") for input in read]
    size = next((side for side in sides if side is not None), None)
    if size is not None and len(inputs) == 1 and not kind.whole_pictures and data.spec.roles[first].shape[1:] != (size, size):
        settings.setdefault("views.size", size)
    described = {role: describe_encoder(encoder) for role, encoder in encoders.items()}
    method, recipe = build_method(kind, spec, encoders, settings)
    if inherited is not None:
        method.adopt_space(inherited.space)
    if method.adopts_classifier:
        adopt_classifier(method, next(iter(origins.values())), spec)
    attach(tokenizers, method)
    choices += adopted_space(method, origins)
    plan, planned = plan_of(request, recipe, len(members), device, last=list(method.stages())[-1].share)
    return Parts(method, recipe, plan, data, members, spec, origins, described, tokenizers, choices + planned)


def adopt_classifier(method: Method, source: Source, spec: DataSpec) -> None:
    """Raises UserError unless the method starts from a run that names the same classes."""
    run = source.run
    hint = "start from a run of `leaven finetune` on these classes"
    trained = trained_method(run) if run is not None and run.learned_path.is_file() else None
    if run is None or trained is None or not trained.classifies:
        what = f"{method.name} takes the classifier of the run that it starts from, and there is none"
        raise UserError(what, where=run.path if run is not None else None, hint=hint)
    names = run.config["asked"]["data"]["spec"]["class_names"]
    if unlike := sorted(set(names) ^ set(spec.class_names)):
        raise UserError(f"the classes of this run are not those of the data: {unlike[0]!r} is in one of them only", where=run.path, hint=hint)
    classifier, order = trained.get_submodule("classifier"), [names.index(name) for name in spec.class_names]
    temperature = trained.get_buffer("temperature")
    weight, bias = (classifier.get_parameter(name).detach()[order] / temperature for name in ("weight", "bias"))
    method.adopt_classifier(weight, bias)


def adopted_space(method: Method, origins: Mapping[str, Source]) -> list[dict[str, Any]]:
    """Encoders that were trained together bring the space in which they were compared. Returns the choice made, where they do."""
    runs = [source.run for source in origins.values() if source.run is not None]
    if len(runs) == len(origins) > 1 and len({run.path for run in runs}) == 1 and runs[0].checkpoints.is_dir():
        kind = registry().get(runs[0].config["asked"]["method"]["name"])
        trained = trained_method(runs[0]) if kind is not None and kind.kept_whole else None
        theirs = trained.shared_space() if trained is not None else {}
        space = {role: part for role, source in origins.items() if isinstance(part := theirs.get(str(source.role)), nn.Linear)}
        if trained is not None and len(space) == len(origins) and method.adopt_space(space, trained.shared_scale):
            return [{"what": "space", "value": "that of the run", "why": "its encoders were trained together"}]
    if method.needs_space:
        what = f"{method.name} needs encoders that were trained together by a method that compares them"
        raise UserError(what, hint="give one run of clip for both, with the same dim: --encoder image=RUN,text=RUN")
    return []


def encoder_for(
    kind: type[Method], source: Source, input: InputSpec, wants: str, device: str, make: Callable[[], Encoder] | None
) -> tuple[Encoder, dict[str, Any] | None]:
    """The encoder of one role, and, where its name was chosen for `auto`, the name and the reason. wants: what it must offer."""
    chosen = None
    if make is not None:
        encoder = make()
    elif is_model(source.name):
        encoder = load_model(source.name, input, input.shape[-1], source.arguments)
    elif source.run is not None:
        encoder = load_encoder_of(source.run, source.role)
        modality = modality_of(input)
        if why := modality.difference(input, encoder.input) if encoder.modality is modality else f"it reads {encoder.input.modality}":
            raise UserError(f"the encoder of this run does not read the data: {why}", where=source.run.path)
    else:
        name = source.name
        if name == "auto":
            name, why = choose_encoder(input, wants, device)
            chosen = {"value": name, "why": why}
        encoder = build_encoder(name, input, source.arguments)
    if wants not in encoder.offers:
        named, others = encoder.name or encoder.arguments["model"], encoders_with(wants, input)
        what = f"{kind.name} needs an encoder with {wants.replace('_', ' ')}, and {named} offers {', '.join(encoder.offers)}"
        hint = f"choose --encoder {' or '.join(others)}" if others else methods_for(input.modality)
        raise UserError(what, hint=hint if chosen else f"{hint}, or leave --encoder out")
    return encoder, chosen


def input_of(spec: InputSpec, size: int | None) -> InputSpec:
    """What an encoder is built for: the stored samples at the training size."""
    return modality_of(spec).training_input(spec, size)


def plan_of(request: Request, recipe: Recipe, samples: int, device: str, last: float = 1.0) -> tuple[Plan, list[dict[str, Any]]]:
    """The length in steps where it is known, else with its budget; and the choices made. last: the last stage's share, which a recipe's usual number
    of steps is about."""
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
    if parts > batch:
        raise UserError(f"a batch of {batch} cannot be split into {parts:,} parts", hint="change --batch, --accumulate or --devices")
    if sum(length is not None for length in (request.budget, request.epochs, request.steps)) > 1:
        raise UserError("give one of --budget, --epochs and --steps")
    if recipe.steps == 0:
        return Plan(0, batch), [*choices, {"what": "length", "value": "no steps", "why": "this method is computed at once"}]
    budget, epochs, steps = request.budget, request.epochs, request.steps
    if request.stream is not None and budget is None and epochs is None and steps is None:
        epochs, why = 1, "no length was given, and a stream is read once; change it with --budget, --epochs or --steps"
        choices.append({"what": "length", "value": "one pass", "why": why})
    elif budget is None and epochs is None and steps is None:
        if recipe.steps is not None:
            steps = math.ceil(max(recipe.steps, math.ceil(USUAL_PASSES * samples / batch)) / last - 1e-9)
            length, why = f"{steps} steps", f"and there are {samples:,} samples"
        elif device == "cpu":
            budget, length, why = DEFAULT_BUDGET, "10 minutes", "on a CPU"
        else:
            epochs, length, why = DEFAULT_EPOCHS, "100 epochs", "on a GPU"
        why = f"no length was given, {why}; change it with --budget, --epochs or --steps"
        choices.append({"what": "length", "value": length, "why": why})
    length_in_steps = steps or (epochs or 0) * samples / batch
    if length_in_steps > MOST_STEPS:
        raise UserError(f"a training has at most {MOST_STEPS:,} steps, not {length_in_steps:,.0f}", hint="give fewer --steps or --epochs")
    steps = steps or (0 if epochs is None else max(1, math.ceil(length_in_steps)))
    if request.stream is not None and request.steps is None and budget is None:
        steps = steps_of(request, samples, batch)
    return Plan(steps, batch, budget), choices
