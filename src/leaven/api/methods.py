"""Every method there is."""

from __future__ import annotations

from typing import Annotated, Any

from leaven.api.options import Option, documented
from leaven.methods.registry import explained, find_method, hyperparameters, registry


@documented
def list_methods(
    name: Annotated[str | None, Option("One method, with what its parameters mean.", argument=True, names="methods")] = None,
) -> list[dict[str, Any]]:
    """List the methods by family: what they are, their papers and parameters.

    Returns name, family, roles, paper, year, what each does beside giving features, and its hyper-parameters with defaults and meanings. A name that
    the literature uses finds its method as well (bert, gpt, moco). Raises UserError for a name that there is not.
    """
    wanted = None if name is None else find_method(name).name
    return [
        {
            "name": known,
            "family": method.family,
            "roles": list(method.roles),
            "modality": method.modality or "any",
            "paper": method.paper,
            "year": method.year,
            "summary": explained(method)[0][0],
            "abilities": method.abilities(),
            "parameters": {key: plain(parameter.default) for key, parameter in hyperparameters(method).items() if key != "views"},
            "meanings": explained(method)[1],
        }
        for known, method in registry().items()
        if wanted in (None, known)
    ]


def plain(value: Any) -> Any:
    """A default as JSON has it."""
    return list(value) if isinstance(value, tuple) else value
