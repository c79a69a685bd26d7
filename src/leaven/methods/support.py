"""Which method learns from which data."""

from __future__ import annotations

from leaven.data.spec import DataSpec
from leaven.encoders.build import encoders_with
from leaven.errors import UserError
from leaven.methods.method import Method
from leaven.methods.registry import given_arguments, hyperparameters, registry
from leaven.modalities import MODALITIES, InputSpec, find_modality

MOST_NAMED = 12  # methods in a hint


def supported(method: type[Method], modality: str) -> bool:
    """Whether a method learns from samples of this modality: its paper names no other, the modality has what the method `needs` and views of its
    purpose, and an encoder reads the modality and offers what the method wants, if the method does not bring its own networks."""
    known = find_modality(modality)
    if method.modality not in (None, modality) or not all(getattr(known, need) for need in method.needs):
        return False
    if "views" in hyperparameters(method) and method.purpose not in known.views:
        return False
    brings_networks = not {"encoder", "encoders"} & set(given_arguments(method))
    return brings_networks or bool(encoders_with(method.wants, InputSpec(modality, ())))


def supported_modalities(method: type[Method]) -> list[str]:
    """The names of the modalities that a method learns from."""
    return [modality for modality in MODALITIES if supported(method, modality)]


def fits(method: type[Method], data: DataSpec) -> bool:
    """Whether a method learns from this data as it is: the data has the method's roles, each of a modality that the method reads."""
    if not any(supported(method, spec.modality) for spec in data.roles.values()):
        return False
    try:
        inputs = method.inputs(data)
    except UserError:
        return False
    return all(role in data.roles and supported(method, data.roles[role].modality) for role in inputs)


def inputs_of(method: type[Method], data: DataSpec) -> dict[str, str]:
    """The roles that a method reads of this data, and what the encoder of each must offer.

    Raises UserError where the method does not learn from this kind of data, or the data lacks a role.
    """
    modalities = {role: spec.modality for role, spec in data.roles.items()}
    if any(supported(method, modality) for modality in modalities.values()):
        inputs = method.inputs(data)
        if missing := [role for role in inputs if role not in modalities]:
            what = f"{method.name} needs the role {missing[0]!r}, and the data has {', '.join(modalities)}"
            raise UserError(what, hint=f"say which column plays it with --columns {missing[0]}=COLUMN")
        modalities = {role: modalities[role] for role in inputs if not supported(method, modalities[role])}
        if not modalities:
            return inputs
    *others, last = supported_modalities(method)
    readable = f"{', '.join(others)} or {last}" if others else last
    what = f"{method.name} learns from {readable}, and this data is {' and '.join(dict.fromkeys(modalities.values()))}"
    raise UserError(what, hint=methods_for(data))


def methods_for(data: DataSpec) -> str:
    """A hint that names methods which learn from this data."""
    names = [name for name, method in registry().items() if not method.continues and fits(method, data)]
    modality = next(iter(data.roles.values())).modality
    if not names:
        return f"no method of this version learns from {modality}"
    more = f" and {len(names) - MOST_NAMED} more, see `leaven methods`" if len(names) > MOST_NAMED else ""
    return f"methods that learn from {modality}: {', '.join(names[:MOST_NAMED])}{more}"
