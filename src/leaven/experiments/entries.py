"""Which methods take part in a comparison."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from leaven.data import DataSet
from leaven.errors import UserError
from leaven.experiments.grid import Entry, scored_encoder
from leaven.methods.method import Method
from leaven.methods.registry import find_method, registry
from leaven.training.pretraining import Request


def entries(
    methods: str | Sequence[str | type[Method]], data: DataSet, device: str, settings: Mapping[str, Any], role: str | None = None, **request: Any
) -> tuple[list[Entry], dict[str, str]]:
    """The methods that take part, and those that `all` would include but the data or the encoder do not suit, with the reason.

    settings: "name" for every method, "method:name" for one. role: of the encoder that is scored. request: what all trainings share. A method that
    the user named and that does not suit raises UserError.
    """
    names = list(registry()) if methods == "all" else [name.strip() for name in methods.split(",")] if isinstance(methods, str) else methods
    kinds = {kind.name.rpartition(":")[2]: kind for kind in map(find_method, names)}
    if len(kinds) < len(names):
        raise UserError("two of the methods have one name", where=", ".join(map(str, names)), hint="name each method once")
    for name in settings:
        if (method := name.rpartition(":")[0]) and method not in kinds:
            raise UserError(f"a setting is for {method!r}, which is not compared", where=name, hint=f"the methods are {', '.join(kinds)}")
    taking_part, left_out = [], {}
    for name, kind in kinds.items():
        own = {key.rpartition(":")[2]: value for key, value in settings.items() if key.rpartition(":")[0] in ("", name)}
        training = Request(method=kind.name, settings=own, device=device, **request)
        try:
            refuse_unfair(kind, data)
            taking_part.append(Entry(name, name, training, scored_encoder(training, data, device, role)))
        except UserError as error:
            if methods != "all" or any(key.startswith(f"{name}:") for key in settings):
                raise
            left_out[name] = error.what
    return taking_part, left_out


def refuse_unfair(kind: type[Method], data: DataSet) -> None:
    """UserError for a method that starts from a trained encoder, or that learns from labels which would be tested."""
    if kind.continues:
        raise UserError(f"{kind.name} goes on from a trained encoder", hint="compare ways to train one")
    if (kind.classifies or kind.learns_labels or "labeled" in kind.pools) and torch.isin(data.held_out()[1], data.train()).any():
        hint = "give a test split, so that it is scored by labels that it has not seen"
        raise UserError(f"{kind.name} learns from labels, and this data has no test split of its own", where=data.name, hint=hint)
