"""Which method learns from which kind of data."""

from collections.abc import Sequence

from leaven.data.spec import DataSpec
from leaven.encoders.build import encoders_with
from leaven.errors import UserError
from leaven.methods.method import Method
from leaven.methods.registry import provided_arguments, registry
from leaven.modalities import MODALITIES, InputSpec, find_modality
from leaven.views.views import views_for

MOST_NAMED = 12  # methods in a hint


def supported(method: type[Method], modality: str) -> bool:
    """Whether a method learns from samples of this modality: its paper names no other, the modality has what the method `needs` and views of its
    purpose, and an encoder reads the modality and offers what the method wants, if the method does not bring its own networks."""
    known = find_modality(modality)
    named = modalities_of_paper(method)
    if (named and modality not in named) or not all(getattr(known, need) for need in method.needs):
        return False
    if makes_views(method) and views_for(method.purpose, modality) is None:
        return False
    brings_networks = not {"encoder", "encoders"} & set(provided_arguments(method))
    return brings_networks or bool(encoders_with(method.wants, InputSpec(modality, ())))


def modalities_of_paper(method: type[Method]) -> tuple[str, ...]:
    """The modalities that a method's paper names; none where it names none, and any suits it."""
    return (method.modality,) if isinstance(method.modality, str) else method.modality or ()


def makes_views(method: type[Method]) -> bool:
    """Whether a method reads random views: it names their purpose, or has the usual one and an encoder."""
    return bool(method.purpose) and (method.purpose is not Method.purpose or "encoder" in provided_arguments(method))


def supported_modalities(method: type[Method]) -> list[str]:
    """The names of the modalities that a method learns from."""
    return [modality for modality in MODALITIES if supported(method, modality)]


def inputs_of(method: type[Method], data: DataSpec, columns: Sequence[str] = ()) -> dict[str, str]:
    """The roles that a method reads of this data, and what the encoder of each must offer.

    columns: of the table that holds the data, for the message. Raises UserError where the method does not learn from this kind of data, or the data
    lacks a role.
    """
    if not any(supported(method, spec.modality) for spec in data.roles.values()):
        raise unsupported(method, data, list(data.inputs))
    inputs = method.inputs(data)
    for role in inputs:
        if role not in data.roles:
            what = f"{method.name} needs the role {role!r}, and the data has {', '.join(data.inputs)}"
            plays = "say which column plays it" if len(inputs) == 1 else "say which columns play its roles"
            hint = f"{plays} with --columns {','.join(f'{name}=COLUMN' for name in inputs)}"
            raise UserError(what, hint=f"{hint}; the columns are {', '.join(columns)}" if columns else hint)
    wrong = [role for role in inputs if not supported(method, data.roles[role].modality)]
    if wrong:
        raise unsupported(method, data, wrong)
    return inputs


def unsupported(method: type[Method], data: DataSpec, roles: list[str]) -> UserError:
    kinds = " and ".join(dict.fromkeys(data.roles[role].modality for role in roles))
    *others, last = supported_modalities(method)
    readable = f"{', '.join(others)} or {last}" if others else last
    return UserError(f"{method.name} learns from {readable}, and this data is {kinds}", hint=methods_for(data.roles[roles[0]].modality))


def methods_for(modality: str) -> str:
    """A hint that names methods which learn from this modality."""
    names = [name for name, method in registry().items() if not method.continues and supported(method, modality)]
    more = f" and {len(names) - MOST_NAMED} more, see `leaven methods`" if len(names) > MOST_NAMED else ""
    return f"methods that learn from {modality}: {', '.join(names[:MOST_NAMED]) or 'none in this version'}{more}"
