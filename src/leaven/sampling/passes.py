"""Shuffled passes over the samples of a training, or over pools of them side by side."""

from collections.abc import Mapping

import torch
from torch import Tensor

from leaven.draw import Draw
from leaven.errors import UserError
from leaven.sampling.sampler import Sampler, Samples


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
