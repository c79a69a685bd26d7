"""Shuffled passes over samples: a function of the step alone, so that nothing has to be remembered."""

import torch
from torch import Tensor

from leaven.draw import Draw
from leaven.errors import UserError
from leaven.sampling.sampler import Sampler, Samples


class Passes(Sampler):
    """Endless shuffled passes over `members` (int64 numbers), `batch` at a time; what does not fill a batch is left out of that pass."""

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
