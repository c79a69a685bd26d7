"""The samples of a data set that a training, or one of its stages, learns from, in shuffled passes or in pools side by side."""

import dataclasses
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from leaven.data.batch import Batch
from leaven.draw import Draw
from leaven.errors import UserError
from leaven.sampling.sampler import Sampler, Samples


class Members:
    """Some samples of a data set, numbered from 0; these numbers are the `index` of every batch.

    members: (N,) int64 places in `rows` (None: all).
    """

    def __init__(self, rows: Batch, members: Tensor | None = None):
        self.rows, self.members = rows, torch.arange(len(rows)) if members is None else members
        self.lazy = any(value.lazy for value in rows.roles.values())

    def select(self, index: Tensor) -> Batch:
        return dataclasses.replace(self.rows.select(self.members[index].to(self.rows.label.device)), index=index)

    def sampler(self, batch: int, *key: object, pools: Mapping[str, int], members: Tensor | None = None) -> Sampler:
        if members is None:
            members = torch.arange(len(self.members))
        elif len(members) == 0:
            raise UserError("a stage of this method has no samples to train on", hint="see what its settings ask of a sample")
        else:
            members = members.cpu().repeat(-(-batch // len(members)))
        if not pools:
            return Passes(self, members, batch, *key)
        labeled = self.rows.labeled[self.members[members].to(self.rows.label.device)].cpu()
        return Pools(self, members, labeled, batch, pools, *key)

    def probe(self, count: int, seed: int) -> Batch:
        return self.select(Draw(seed, "probe").permutations(len(self.members), 1)[0][:count].sort().values)

    def everything(self) -> Iterator[Batch]:
        for index in torch.arange(len(self.members)).split(256):
            yield self.select(index)


class Passes(Sampler):
    """Endless shuffled passes over `members` (int64 numbers), `batch` at a time; what does not fill a batch is left out of that pass.

    They are a function of the step alone, so that nothing has to be remembered.
    """

    def __init__(self, samples: Samples, members: Tensor, batch: int, *key: object):
        super().__init__(samples, {"": batch})
        if len(members) < batch:
            raise UserError(f"{len(members)} samples do not fill a batch of {batch}", hint=f"use --batch {max(1, len(members))}")
        self.members, self.size, self.key = members, batch, key
        self.pass_number, self.order = -1, members

    def batch(self, step: int) -> Tensor:
        number, place = divmod(step, len(self.members) // self.size)
        if number != self.pass_number:
            draw = Draw(*self.key, number)
            self.pass_number, self.order = number, self.members[torch.randperm(len(self.members), generator=draw.generator)]
        return self.order[place * self.size : (place + 1) * self.size]


class Pools(Sampler):
    """Samples of each pool in their proportion. Each pool is shuffled by itself, and a small one is repeated as often as it takes.

    pools: the proportion of "labeled" and "unlabeled" samples, or of all samples under any other name. labeled: (N,) bool, which members have a
    label.
    """

    def __init__(self, samples: Samples, members: Tensor, labeled: Tensor, batch: int, pools: Mapping[str, int], *key: object):
        unit = batch // sum(pools.values())
        self.passes: dict[str, Passes] = {}
        for pool, share in pools.items():
            belongs = {"labeled": labeled, "unlabeled": ~labeled}.get(pool)
            chosen = members if belongs is None else members[belongs]
            if len(chosen) == 0:
                raise UserError(f"the method needs {pool} samples, and there are none", hint="give labels with --labels")
            size = max(1, unit * share)
            self.passes[pool] = Passes(samples, chosen.repeat(-(-size // len(chosen))), size, *key, pool)
        super().__init__(samples, {pool: passes.size for pool, passes in self.passes.items()})

    def batch(self, step: int) -> dict[str, Tensor]:
        return {pool: passes.batch(step) for pool, passes in self.passes.items()}
