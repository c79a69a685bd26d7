"""Samples that come in an order of their own, one batch after another, and are trained on through a replay buffer."""

import copy
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from leaven.data.batch import Batch
from leaven.draw import Draw
from leaven.errors import UserError
from leaven.sampling.members import Members
from leaven.sampling.sampler import Nearness, Sampler

READ = 256  # samples of a data set that are read together, as a stream


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


class InOrder:
    """The samples of a data set, one after another. order: int64 places in it."""

    def __init__(self, rows: Batch, order: Tensor):
        self.members = Members(rows, order)

    def __iter__(self) -> Iterator[Batch]:
        return self.after(0)

    def after(self, count: int) -> Iterator[Batch]:
        for numbers in torch.arange(count, len(self.members.members)).split(READ):
            yield self.members.select(numbers)


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


class Stream:
    """A source whose samples arrive in order; `index` counts them.

    batches: an iterable of `Batch`es of any sizes that begins anew each time it is iterated; at its end the stream does so. If it has a method
    `after(count)`, an iterator without its first samples, a resumed training skips them by that, else by reading them.
    capacity: samples that the replay buffer holds. fresh: samples that arrive before each step. policy: which of them stay.
    """

    def __init__(self, batches: Iterable[Batch], *, capacity: int, fresh: int, policy: Policy | None = None):
        if isinstance(batches, Iterator):
            raise UserError("this stream can be read only once", hint="give an object whose __iter__ begins anew, such as a list or a class")
        if capacity < 1 or fresh < 1:
            raise UserError(f"capacity and fresh must be 1 or more, not {capacity} and {fresh}")
        self.batches, self.capacity, self.fresh, self.policy = batches, capacity, fresh, policy or Policy()

    def sampler(self, batch: int, *key: object, pools: Mapping[str, int], members: Tensor | None = None, nearness: Nearness | None = None) -> Sampler:
        if pools or members is not None or nearness is not None:
            raise UserError("this method chooses among all samples, and a stream never holds them all", hint="leave --stream out")
        return Replay(self, batch, *key)

    def probe(self, count: int, seed: int) -> Batch:
        """The first samples of the stream."""
        reader = Reader(self.batches)
        first = Buffer(count, next(Reader(self.batches).read(1)))
        for batch in reader.read(count, again=False):
            first.write(batch, batch.index)
        return first.select(torch.arange(first.filled))

    def everything(self) -> Iterator[Batch]:
        raise UserError("this method looks at all samples at once, and a stream never holds them all", hint="leave --stream out")


class Reader:
    """A place in a stream. seen: how many samples were read; place: how many of those in the current pass."""

    def __init__(self, batches: Iterable[Batch], seen: int = 0, place: int = 0):
        self.batches, self.seen, self.place = batches, seen, place
        self.coming: Iterator[Batch] = batches.after(place) if hasattr(batches, "after") else without(iter(batches), place)
        self.current, self.used = next(self.coming, None), 0

    def read(self, count: int, again: bool = True) -> Iterator[Batch]:
        """The next samples, in one batch or several; again: after the last one, those from the beginning."""
        while count:
            if self.current is None:
                if self.place == 0:
                    raise UserError("the stream gives no samples")
                if not again:
                    return
                self.coming, self.place = iter(self.batches), 0
            elif self.used < len(self.current):
                stop = min(self.used + count, len(self.current))
                taken = self.current.select(torch.arange(self.used, stop))
                index = self.seen + torch.arange(len(taken))
                self.seen, self.place, self.used, count = self.seen + len(taken), self.place + len(taken), stop, count - len(taken)
                yield dataclasses.replace(taken, index=index)
                continue
            self.current, self.used = next(self.coming, None), 0


def without(batches: Iterator[Batch], count: int) -> Iterator[Batch]:
    """The batches without their first samples."""
    for batch in batches:
        if count < len(batch):
            yield batch.select(torch.arange(count, len(batch))) if count else batch
        count = max(0, count - len(batch))


class Replay(Sampler):
    """Before each step, `fresh` samples of a stream go into a buffer, of which the batch is drawn (Purushwalkam et al. 2022, section 4).

    Every process reads the whole stream, so that the global batch is the same on any number of them.
    """

    remembers = True

    def __init__(self, stream: Stream, batch: int, *key: object):
        if batch > stream.capacity:
            raise UserError(f"a buffer of {stream.capacity} samples does not fill a batch of {batch}", hint="raise --buffer, or lower --batch")
        self.stream, self.size, self.key = stream, batch, key
        self.reader, self.policy = Reader(stream.batches), copy.deepcopy(stream.policy)
        self.buffer = Buffer(stream.capacity, next(Reader(stream.batches).read(1)))
        self.observes = self.policy.observes
        super().__init__(self.buffer, {"": batch})

    def batch(self, step: int) -> Tensor:
        count, start = max(self.stream.fresh, self.size - self.buffer.filled), self.reader.seen
        places = self.policy.places(torch.arange(start, start + count), self.stream.capacity, Draw(*self.key, "places", step))
        for samples in self.reader.read(count):
            self.buffer.write(samples, places[samples.index - start])
        self.chosen = torch.randperm(self.buffer.filled, generator=Draw(*self.key, step).generator)[: self.size]
        return self.chosen

    def observe(self, outputs: Mapping[str, Any]) -> None:
        self.policy.observe(self.chosen, outputs)

    def state_dict(self) -> dict[str, Any]:
        state = {"seen": self.reader.seen, "place": self.reader.place}
        return {**state, "buffer": self.buffer.state_dict(), "policy": self.policy.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.reader = Reader(self.stream.batches, state["seen"], state["place"])
        self.buffer.load_state_dict(state["buffer"])
        self.policy.load_state_dict(state["policy"])
