"""Which samples make up which batch: a function of the step alone, so that nothing has to be remembered."""

from __future__ import annotations

import torch
from torch import Tensor

from leaven.draw import Draw
from leaven.errors import UserError


class Shuffle:
    """Endless shuffled passes over `rows`, `batch` at a time; what does not fill a batch is left out of that pass."""

    def __init__(self, rows: Tensor, batch: int, *key: object):
        self.members, self.batch, self.key = rows, batch, key
        self.per_pass = len(rows) // batch
        self.pass_number, self.order = -1, rows

    def rows(self, step: int) -> Tensor:
        number, place = divmod(step, self.per_pass)
        if number != self.pass_number:
            draw = Draw(*self.key, number)
            self.pass_number, self.order = number, self.members[torch.randperm(len(self.members), generator=draw.generator)]
        return self.order[place * self.batch : (place + 1) * self.batch]


class Sampler:
    """The rows of each part (rank-major, then micro-batch) of each global batch. labels: (N,) int64 on the CPU, -1 = none.

    pools: for semi-supervised methods, the proportion of "labeled" and "unlabeled" samples in a batch; each pool is shuffled by itself, and a
    small labeled pool is repeated as often as it takes.
    """

    def __init__(self, labels: Tensor, batch: int, seed: int, pools: dict[str, int], parts: int):
        self.parts = parts
        if batch % parts:
            raise UserError(f"a batch of {batch} does not divide into {parts} equal parts", hint="change --batch, --accumulate or --devices")
        everything = torch.arange(len(labels))
        if not pools:
            self.shuffles = {"": Shuffle(everything, self._fitting(len(labels), batch), seed, "order")}
            return
        unit = batch // sum(pools.values())
        self.shuffles = {}
        for pool, share in pools.items():
            members = everything[labels >= 0] if pool == "labeled" else everything[labels < 0] if pool == "unlabeled" else everything
            if len(members) == 0:
                raise UserError(f"the method needs {pool} samples, and there are none", hint="give labels with --labels")
            wanted = max(parts, unit * share // parts * parts)
            members = members.repeat(-(-wanted // len(members)))
            self.shuffles[pool] = Shuffle(members, wanted, seed, "order", pool)

    def _fitting(self, samples: int, batch: int) -> int:
        if samples < batch:
            raise UserError(f"{samples} samples do not fill a batch of {batch}", hint=f"use --batch {max(1, samples // self.parts * self.parts)}")
        return batch

    @property
    def steps_per_pass(self) -> int:
        """Steps in which every (unlabeled) sample is seen once."""
        return max(shuffle.per_pass for shuffle in self.shuffles.values())

    def rows(self, step: int, part: int) -> Tensor | dict[str, Tensor]:
        """The rows of one part: a tensor, or one a pool."""
        mine = {}
        for pool, shuffle in self.shuffles.items():
            rows = shuffle.rows(step)
            size = len(rows) // self.parts
            mine[pool] = rows[part * size : (part + 1) * size]
        return mine.get("", mine)
