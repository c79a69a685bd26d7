"""Plain numbers."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from leaven.errors import UserError
from leaven.modalities.content import check_finite, constant_dimensions, moments, value_range
from leaven.modalities.modality import DefaultEncoder, Modality
from leaven.modalities.spec import InputSpec
from leaven.modalities.value import Value


@dataclass(frozen=True, eq=False)
class Vector(Value):
    """Plain numbers: (B, D) float."""

    modality = "vector"
    numbers: Tensor


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
        return InputSpec(self.name, tuple(value.numbers.shape[1:]), mean, std, value_range(value.numbers, train))

    def checked(self, value: Any, where: str) -> Value:
        numbers = value.numbers
        if numbers.ndim != 2 or 0 in numbers.shape:
            raise UserError(f"an array of shape {tuple(numbers.shape)} does not hold plain numbers", where=where, hint="vectors are (N,D)")
        check_finite(numbers, where)
        return Vector(numbers.float())

    def constant(self, value: Any, train: Tensor) -> int:
        return constant_dimensions(value.numbers, train)
