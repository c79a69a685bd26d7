"""Encoders by their names: chosen, built, and described so that they can be built again. It knows the registries alone."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from leaven.encoders.encoder import LIBRARIES, OWN, Encoder
from leaven.errors import UserError, unknown_name
from leaven.hyperparameters import convert, hyperparameters, types_of
from leaven.modalities import InputSpec, modality_of


def choose_encoder(input: InputSpec, wants: str, device: str) -> tuple[str, str]:
    """The name and the reason behind `--encoder auto`."""
    side = max(input.shape[1:], default=0)
    for default in modality_of(input).encoders:
        suited = (default.wants,) if isinstance(default.wants, str) else default.wants
        if (wants in suited or "any" in suited) and default.device in (device, "any") and side <= default.largest:
            return default.name, default.reason
    raise UserError(f"no encoder is chosen automatically for {input.modality}", hint="name one with --encoder")


def encoders_with(wants: str, input: InputSpec) -> list[str]:
    return [name for name, kind in OWN.items() if input.modality in kind.modalities and wants in kind.offers]


def encoder_class(name: str, input: InputSpec) -> type[Encoder]:
    """The class behind a name: one of our own, else the wrapper of the library whose model it is. Raises UserError for an unknown name."""
    if name in OWN:
        return OWN[name]
    library = LIBRARIES.get((modality_of(input).library, input.modality))
    if library is None or not library.knows(name):
        raise unknown_name("encoder", name, [*OWN, *(library.names() if library else [])], "leaven encoders")
    return library


def build_encoder(name: str, input: InputSpec, arguments: dict[str, Any] | None = None) -> Encoder:
    """An encoder by its name, with fresh weights unless its arguments ask for others. UserError for a name, argument or input that does not fit."""
    kind: Any = encoder_class(name, input)
    arguments = {**(arguments or {}), **({} if kind.name else {"model": name})}
    if input.modality not in kind.modalities:
        raise UserError(f"encoder {name} reads {', '.join(kind.modalities)}, not {input.modality}", hint="leave --encoder out to have one chosen")
    allowed = set(hyperparameters(kind))
    if unknown := set(arguments) - allowed:
        raise UserError(f"encoder {name} has no argument {sorted(unknown)[0]!r}", hint=f"it has {', '.join(sorted(allowed - {'model'}))}")
    kinds = types_of(kind)
    arguments = {key: convert(value, kinds[key], f"encoder.{key}") for key, value in arguments.items()}
    encoder: Encoder = kind(input, **arguments)
    encoder.arguments = arguments
    return encoder.to(memory_format=kind.memory_format)


def rebuild_encoder(described: Mapping[str, Any]) -> Encoder:
    """An encoder from its description, with fresh weights. Nothing is fetched, and no name is looked up outside the registries.

    Raises UserError where the description is not whole.
    """
    input = InputSpec.from_dict(described["input"])
    if len(input.shape) != modality_of(input).axes:
        raise UserError(f"no input of {input.modality} has the shape {input.shape}", where=described["name"], hint="take a whole copy of the run")
    return build_encoder(described["name"], input, own_arguments(described["name"], input, described["arguments"]))


def own_arguments(name: str, input: InputSpec, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of an encoder, and of one within it, that need no source: without `pretrained`. UserError where they leave something open."""
    kept = {key: value for key, value in arguments.items() if key != "pretrained"}
    if missing := [key for key in encoder_class(name, input).architecture if not kept.get(key)]:
        raise UserError(f"the description of the encoder {name} has no {missing[0]}", hint="take a whole copy of the run")
    if "encoder" in kept and "options" in kept:
        kept["options"] = own_arguments(kept["encoder"], input, kept["options"] or {})
    return kept


def describe_encoder(encoder: nn.Module) -> dict[str, Any]:
    """What config.json keeps of an encoder: enough to build it again. Networks that a method brought itself are built by the method."""
    if not isinstance(encoder, Encoder):
        return {"library": "method", "name": type(encoder).__name__, "arguments": {}}
    arguments = {**encoder.arguments, **encoder.kept_arguments()}
    name = encoder.name or arguments.pop("model")
    return {"library": encoder.library, "name": name, "arguments": arguments, "input": encoder.input.to_dict(), "dim": encoder.dim}


def encoder_title(described: Mapping[str, Any]) -> str:
    """The name of an encoder with the arguments that were set, and that of the encoder within it."""
    arguments = dict(described["arguments"])
    inner = {"name": arguments.pop("encoder", ""), "arguments": arguments.pop("options", None) or {}}
    settings = ", ".join(f"{name} {value}" for name, value in arguments.items() if not isinstance(value, dict))
    return described["name"] + (f" ({settings})" if settings else "") + (f" of {encoder_title(inner)}" if inner["name"] else "")
