"""Plain numbers."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor

from leaven.errors import UserError
from leaven.modalities.anomalies import anomalies, lines
from leaven.modalities.content import check_finite, constant_dimensions, moments, ordinary_limits, value_range
from leaven.modalities.modality import DefaultEncoder, Modality
from leaven.modalities.spec import InputSpec
from leaven.modalities.value import Value

FURTHEST = 10.0  # deviations from the mean


@dataclass(frozen=True, eq=False)
class Vector(Value):
    """Plain numbers: (B, D) float. reading: how they were read from a table: {"table": [{"column", "median" or "categories"}, ...]}."""

    modality = "vector"
    numbers: Tensor
    reading: dict[str, Any] = field(default_factory=dict)


class VectorModality(Modality):
    """Numbers that mean the same in all samples, such as the columns of a table."""

    name, noun, plural, values = "vector", "vector", "vectors", (Vector,)
    encoders = (DefaultEncoder("mlp", "plain numbers"),)
    method = ("simclr", "its views of plain numbers (noise, left-out values) need no knowledge of what they mean")
    views = {"contrast": {"kind": "vectors"}, "plain": {"kind": "vectors", "count": 1, "noise": 0, "drop": 0}}
    likelihoods = ("bernoulli", "gaussian")
    continuous = True

    def spec(self, value: Any, train: Tensor) -> InputSpec:
        mean, std = moments(value.numbers, train, ordinary_limits(value.numbers, train))  # a few spikes would hide all else
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
        return lambda some: self.standardized(self.numbers(some), 1 / std, -mean / std)

    def standardized(self, numbers: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """At most 10 deviations from the mean: in a batch with a single spike, batch norm would make all other samples the same."""
        return super().standardized(numbers, scale, shift).clamp(-FURTHEST, FURTHEST)

    def anomalies(self, value: Any, files: Sequence[str]) -> dict[str, Any]:
        """Spikes, and stretches in which a column of numbers stands still (see `anomalies`)."""
        numbers, names = columns_of_numbers(value)
        return anomalies(value.numbers[:, numbers], names, files)

    def cautions(self, described: dict[str, Any], sizes: dict[str, Any] | None) -> list[str]:
        return lines(described)

    def constant(self, value: Any, train: Tensor) -> int:
        return constant_dimensions(value.numbers, train)


def columns_of_numbers(value: Vector) -> tuple[list[int], list[str]]:
    """The places and names of the numbers that are no categories."""
    names: list[str | None] = []
    for entry in value.reading.get("table", ()):
        size = len(entry.get("categories", ())) or len(entry["median"])
        own = [entry["column"]] if size == 1 else [f"{entry['column']}[{number}]" for number in range(size)]
        names += [None] * size if "categories" in entry else own
    if len(names) != value.numbers.shape[1]:
        names = [f"column {number}" for number in range(value.numbers.shape[1])]
    kept = [place for place, name in enumerate(names) if name is not None]
    return kept, [name for name in names if name is not None]


def columns_of(spec: InputSpec) -> dict[str, Any]:
    """The columns of the table from which an input was read, each with its categories; empty where it was no table."""
    return {entry["column"]: entry.get("categories") for entry in spec.reading.get("table", ())}
