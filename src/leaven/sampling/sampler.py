"""The contract of samplers, and of the sources whose samples they choose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor

from leaven.data.batch import Batch

Selection = Tensor | dict[str, Tensor]
"""(B,) int64 numbers of samples, or such numbers for each pool."""


@dataclass(frozen=True)
class Nearness:
    """near: seconds from the beginning of a window to that of a near one, at most; the two do not overlap. far: the same of a far one, at least.
    elsewhere: share of the far windows that come from another recording; all of them where their own recording is too short."""

    near: float
    far: float
    elsewhere: float


class Samples(Protocol):
    """What samples are selected from."""

    lazy: bool
    """Whether it takes work to select samples."""

    def select(self, index: Tensor) -> Batch:
        """The samples of these numbers, on the CPU or wherever they lie."""


class Source(Protocol):
    """Where a training gets its samples: the members of a data set, or a stream."""

    def sampler(self, batch: int, *key: object, pools: Mapping[str, int], members: Tensor | None = None, nearness: Nearness | None = None) -> Sampler:
        """The global batches of a training, seeded by the key. pools: their proportions; members: numbers of the only samples of a stage; nearness:
        of windows of recordings, which then are the pools."""

    def probe(self, count: int, seed: int) -> Batch:
        """At most `count` samples, always the same, for health to look at."""

    def everything(self) -> Iterator[Batch]:
        """All samples in order, in batches."""


class Sampler:
    """Chooses the samples of every global batch, whatever the number of processes and micro-batches that share it."""

    remembers: ClassVar[bool] = False
    """Whether a batch depends on more than its step; if not, batches may be asked for ahead of time and again."""
    observes: bool = False
    """Whether `observe` wants the outputs of every batch."""

    def __init__(self, samples: Samples, sizes: Mapping[str, int]):
        """sizes: samples of a global batch by pool ("" where there are no pools)."""
        self.samples, self.sizes = samples, sizes

    def batch(self, step: int) -> Selection:
        """The global batch of this step. Where the sampler remembers, steps are asked for one after another."""
        raise NotImplementedError

    def observe(self, outputs: Mapping[str, Any]) -> None:
        """What the method's `forward` gave for the last batch, detached, one row for each sample of the global batch."""

    def state_dict(self) -> dict[str, Any]:
        """What it remembers."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after the last batch that was chosen before this state was kept."""
