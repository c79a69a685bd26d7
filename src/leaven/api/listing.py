"""Everything there is: methods, encoders, protocols and claims."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from leaven.api import options
from leaven.encoders import OWN
from leaven.errors import unknown_name
from leaven.evaluation.registry import find_protocol
from leaven.evaluation.registry import registry as protocols
from leaven.experiments.reproduction import claims
from leaven.methods.registry import explained, find_method, hyperparameters
from leaven.methods.registry import registry as methods

FIELDS_OF_CLAIMS = ("name", "says", "source", "rule", "data", "seeds", "minutes")


@options.documented
def list_methods(
    name: Annotated[str | None, options.Option("One method, with what its parameters mean.", argument=True, names="methods")] = None,
) -> list[dict[str, Any]]:
    """List the methods by family: what they are, their papers and parameters.

    Returns name, family, roles, paper, year, what each does beside giving features, and its hyper-parameters with defaults and meanings. The names
    that the literature uses find their methods as well (bert, gpt, moco), and so does file.py:Class. Raises UserError for an unknown name.
    """
    return [
        {
            "name": method.name,
            "family": method.family,
            "roles": list(method.roles),
            "modality": method.modality or "any",
            "paper": method.paper,
            "year": method.year,
            "summary": explained(method)[0][0],
            "abilities": method.abilities(),
            "parameters": {key: value for key, value in defaults(method).items() if key != "views"},
            "meanings": explained(method)[1],
        }
        for method in (methods().values() if name is None else [find_method(name)])
    ]


@options.documented
def list_encoders(
    name: Annotated[str | None, options.Option("One encoder, with what its parameters mean.", argument=True, names="encoders")] = None,
) -> list[dict[str, Any]]:
    """List Leaven's own encoders; any timm model works by its name as well.

    Returns name, modalities, what they offer, and their arguments with defaults and meanings. Raises UserError for a name that is not among them.
    """
    if name is not None and name not in OWN:
        raise unknown_name("encoder", name, OWN, "leaven encoders")
    return [
        {
            "name": encoder.name,
            "modalities": list(encoder.modalities),
            "offers": list(encoder.offers),
            "summary": explained(encoder)[0][0],
            "parameters": defaults(encoder),
            "meanings": explained(encoder)[1],
        }
        for encoder in (OWN.values() if name is None else [OWN[name]])
    ]


@options.documented
def list_protocols(
    name: Annotated[str | None, options.Option("One protocol, with what its options mean.", argument=True, names="protocols")] = None,
) -> list[dict[str, Any]]:
    """List the protocols that `leaven evaluate` scores by: what they measure, what they need, and their options.

    Returns name, title, what each needs, its options with their defaults and meanings, its floors, and whether `compare` can use it. Raises UserError
    for an unknown name.
    """
    return [
        {
            "name": protocol.name,
            "title": protocol.title,
            "summary": explained(protocol)[0][0],
            "needs": protocol.needs,
            "options": {option.name: plain(option.default) for option in dataclasses.fields(protocol)},
            "meanings": explained(protocol)[1],
            "floors": [floor.name for floor in protocol.floors],
            "compare": protocol.frozen,
        }
        for protocol in (protocols().values() if name is None else [find_protocol(name)])
    ]


def list_claims() -> list[dict[str, Any]]:
    """List the claims of the field that can be checked: what they say, the rule that decides them, and how long a check takes.

    Returns name, what each says, its source, rule, data and seeds, and how many minutes it takes on two CPU cores.
    """
    return [{field: getattr(claim, field) for field in FIELDS_OF_CLAIMS} for claim in claims().values()]


def defaults(kind: type) -> dict[str, Any]:
    """The parameters of a method or an encoder with their defaults."""
    return {name: plain(parameter.default) for name, parameter in hyperparameters(kind).items()}


def plain(value: Any) -> Any:
    """A default as JSON has it."""
    return list(value) if isinstance(value, tuple) else value
