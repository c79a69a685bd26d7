"""A replay buffer: samples of a stream that are kept for a while, and the policies that say for how long."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from leaven.data.batch import Batch
from leaven.draw import Draw
from leaven.errors import UserError


class Policy:
    """Which samples a full buffer keeps. This one keeps the latest (first in, first out)."""

    observes: bool = False
    """Whether `observe` wants the outputs of every batch."""

    def places(self, numbers: Tensor, capacity: int, draw: Draw) -> Tensor:
        """(B,) place of each new sample, or -1 where it is not kept. numbers: (B,) how many samples came before it; that is its place until the
        buffer is full."""
        return numbers % capacity

    def observe(self, places: Tensor, outputs: Mapping[str, Any]) -> None:
        """Outputs (detached, one row for each sample) of the samples at these places, which were just trained on."""

    def state_dict(self) -> dict[str, Any]:
        """What it remembers beside the buffer."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Reservoir(Policy):
    """Keeps each sample of the stream so far with the same probability (Vitter 1985, algorithm R)."""

    def places(self, numbers: Tensor, capacity: int, draw: Draw) -> Tensor:
        places = (draw.uniform(len(numbers)).double() * (numbers + 1)).long()
        return torch.where(numbers < capacity, numbers, places.where(places < capacity, -1))


class Buffer:
    """At most `capacity` samples, in places from 0. like: samples of the shapes and types that it holds."""

    lazy = False

    def __init__(self, capacity: int, like: Batch):
        one = like.select(torch.zeros(capacity, dtype=torch.int64))
        self.samples, self.filled = Batch(one.roles, one.label, torch.full((capacity,), -1), one.group), 0

    def select(self, index: Tensor) -> Batch:
        return self.samples.select(index)

    def write(self, samples: Batch, places: Tensor) -> None:
        """Put samples into places in their order; those with place -1 are dropped."""
        last = {place: number for number, place in enumerate(places.tolist()) if place >= 0}
        numbers, slots = torch.tensor(list(last.values()), dtype=torch.int64), torch.tensor(list(last), dtype=torch.int64)
        for (name, kept), tensor in zip(fields(self.samples).items(), fields(samples).values(), strict=True):
            if kept.shape[1:] != tensor.shape[1:]:
                raise UserError(f"the samples of a stream must have one shape: {name} had {tuple(kept.shape[1:])}, now {tuple(tensor.shape[1:])}")
            kept[slots] = tensor[numbers]
        self.filled = max([self.filled, *(place + 1 for place in last)])

    def state_dict(self) -> dict[str, Tensor]:
        return {name: tensor[: self.filled] for name, tensor in fields(self.samples).items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name, tensor in fields(self.samples).items():
            self.filled = len(state[name])
            tensor[: self.filled] = state[name]


def fields(samples: Batch) -> dict[str, Tensor]:
    """Every tensor of a batch by its name."""
    roles = {f"{role}.{name}": tensor for role, value in samples.roles.items() for name, tensor in value.tensors().items()}
    return {**roles, "label": samples.label, "index": samples.index, "group": samples.group}
