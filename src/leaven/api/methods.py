"""Every method there is."""

from __future__ import annotations

from typing import Annotated, Any

from leaven.api.options import Option, documented
from leaven.hyperparameters import explained, hyperparameters
from leaven.methods.registry import find_method, registry
from leaven.methods.support import modalities_of_paper


@documented
def list_methods(
    name: Annotated[str | None, Option("One method, with what its parameters mean.", argument=True, names="methods")] = None,
) -> list[dict[str, Any]]:
    """List the methods by family: what they are, their papers and parameters.

    Returns name, family, roles, paper, year, what each does beside giving features, and its hyper-parameters with defaults and meanings. The names
    that the literature uses find their methods as well (bert, gpt, moco), and so does file.py:Class. Raises UserError for an unknown name.
    """
    kinds = list(registry().values()) if name is None else [find_method(name)]
    return [
        {
            "name": method.name,
            "family": method.family,
            "roles": list(method.roles),
            "modality": ", ".join(modalities_of_paper(method)) or "any",
            "paper": method.paper,
            "year": method.year,
            "summary": explained(method)[0][0],
            "abilities": method.abilities(),
            "parameters": {key: plain(parameter.default) for key, parameter in hyperparameters(method).items()},
            "meanings": explained(method)[1],
        }
        for method in kinds
    ]


def plain(value: Any) -> Any:
    """A default as JSON has it."""
    return list(value) if isinstance(value, tuple) else value
