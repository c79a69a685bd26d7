"""Pools of unequal size side by side in every batch, as in semi-supervised learning."""

from collections.abc import Mapping

from torch import Tensor

from leaven.errors import UserError
from leaven.sampling.passes import Passes
from leaven.sampling.sampler import Sampler, Samples


class Pools(Sampler):
    """Samples of each pool in their proportion. Each pool is shuffled by itself, and a small one is repeated as often as it takes.

    pools: the proportion of "labeled" and "unlabeled" samples, or of all samples under any other name. labels: (N,) of the members, -1 = none.
    """

    def __init__(self, samples: Samples, members: Tensor, labels: Tensor, batch: int, pools: Mapping[str, int], *key: object):
        unit = batch // sum(pools.values())
        self.passes: dict[str, Passes] = {}
        for pool, share in pools.items():
            choice = {"labeled": labels >= 0, "unlabeled": labels < 0}.get(pool)
            chosen = members if choice is None else members[choice]
            if len(chosen) == 0:
                raise UserError(f"the method needs {pool} samples, and there are none", hint="give labels with --labels")
            size = max(1, unit * share)
            self.passes[pool] = Passes(samples, chosen.repeat(-(-size // len(chosen))), size, *key, pool)
        super().__init__(samples, {pool: passes.size for pool, passes in self.passes.items()})

    def batch(self, step: int) -> dict[str, Tensor]:
        return {pool: passes.batch(step) for pool, passes in self.passes.items()}
