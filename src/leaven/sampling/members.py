"""The samples of a data set that a training, or one of its stages, learns from."""

import dataclasses
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from leaven.data.batch import Batch
from leaven.draw import Draw
from leaven.errors import UserError
from leaven.sampling.neighbours import Neighbours, origins
from leaven.sampling.passes import Passes, Pools
from leaven.sampling.sampler import Nearness, Sampler

FEWEST, PROBED = 256, 2**27  # samples that health looks at where they are large: as many as these bytes hold


class Members:
    """Some samples of a data set, numbered from 0; these numbers are the `index` of every batch.

    members: (N,) int64 places in `rows` (None: all).
    """

    def __init__(self, rows: Batch, members: Tensor | None = None):
        self.rows, self.members = rows, torch.arange(len(rows)) if members is None else members
        self.lazy = any(value.lazy for value in rows.roles.values())

    def select(self, index: Tensor) -> Batch:
        return dataclasses.replace(self.rows.select(self.members[index].to(self.rows.label.device)), index=index)

    def sampler(self, batch: int, *key: object, pools: Mapping[str, int], members: Tensor | None = None, nearness: Nearness | None = None) -> Sampler:
        if members is None:
            members = torch.arange(len(self.members))
        elif len(members) == 0:
            raise UserError("a stage of this method has no samples to train on", hint="see what its settings ask of a sample")
        else:
            members = members.cpu().repeat(-(-batch // len(members)))
        if nearness is not None:
            return Neighbours(self, origins(self.rows)[self.members], members, batch, nearness, *key)
        if not pools:
            return Passes(self, members, batch, *key)
        labeled = self.rows.labeled[self.members[members].to(self.rows.label.device)].cpu()
        return Pools(self, members, labeled, batch, pools, *key)

    def probe(self, count: int, seed: int) -> Batch:
        count = min(count, max(FEWEST, PROBED * len(self.rows) // max(1, self.rows.nbytes)))
        return self.select(Draw(seed, "probe").permutations(len(self.members), 1)[0][:count].sort().values)

    def everything(self) -> Iterator[Batch]:
        for index in torch.arange(len(self.members)).split(256):
            yield self.select(index)
