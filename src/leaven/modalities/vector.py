"""Plain numbers."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor

from leaven.errors import UserError
from leaven.modalities.content import check_finite, constant_dimensions, moments, value_range
from leaven.modalities.modality import DefaultEncoder, Modality
from leaven.modalities.spec import InputSpec
from leaven.modalities.value import Value


@dataclass(frozen=True, eq=False)
class Vector(Value):
    """Plain numbers: (B, D) float. reading: how they were read from a table: {"table": [{"column", "median" or "categories"}, ...]}."""

    modality = "vector"
    numbers: Tensor
    reading: dict[str, Any] = field(default_factory=dict)


class VectorModality(Modality):
    """Numbers that mean the same in all samples, such as the columns of a table."""

    name, values = "vector", (Vector,)
    encoders = (DefaultEncoder("mlp", "plain numbers"),)
    method = ("simclr", "its views of plain numbers (noise, left-out values) need no knowledge of what they mean")
    views = {"contrast": {"kind": "vectors"}, "plain": {"kind": "vectors", "count": 1, "noise": 0, "drop": 0}}
    likelihoods = ("bernoulli", "gaussian")
    continuous = True

    def spec(self, value: Any, train: Tensor) -> InputSpec:
        mean, std = moments(value.numbers, train)
        return InputSpec(self.name, tuple(value.numbers.shape[1:]), mean, std, value_range(value.numbers, train), reading=value.reading)

    def checked(self, value: Any, where: str) -> Value:
        numbers = value.numbers
        if numbers.ndim != 2 or 0 in numbers.shape:
            raise UserError(f"an array of shape {tuple(numbers.shape)} does not hold plain numbers", where=where, hint="vectors are (N,D)")
        check_finite(numbers, where)
        return dataclasses.replace(value, numbers=numbers.float())

    def difference(self, spec: InputSpec, wanted: InputSpec) -> str:
        """Of tables, the columns must be the same in the same order, with the same categories."""
        ours, theirs = columns_of(spec), columns_of(wanted)
        if not ours or not theirs or list(ours.items()) == list(theirs.items()):
            return super().difference(spec, wanted)
        missing, more = ([name for name in one if name not in other] for one, other in ((theirs, ours), (ours, theirs)))
        parts = [f"lacks {', '.join(missing)}" if missing else "", f"has {', '.join(more)} besides" if more else ""]
        data = " and ".join(filter(None, parts)) or "has them in another order or with other categories"
        return f"this encoder reads the columns {', '.join(theirs)}, and the data {data}"

    def raw_features(self, value: Any, train: Tensor) -> Callable[[Value], Float[Tensor, "samples dim"]]:
        """The numbers, standardised as encoders have them: else the columns of the largest scale alone would count."""
        mean, std = self.statistics(self.spec(value, train))
        return lambda some: (self.numbers(some) - mean) / std

    def constant(self, value: Any, train: Tensor) -> int:
        return constant_dimensions(value.numbers, train)


def columns_of(spec: InputSpec) -> dict[str, Any]:
    """The columns of the table from which an input was read, each with its categories; empty where it was no table."""
    return {entry["column"]: entry.get("categories") for entry in spec.reading.get("table", ())}
