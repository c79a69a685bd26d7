"""A replay buffer whose samples differ from each other."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.nn import functional as F

from leaven.draw import Draw
from leaven.errors import UserError
from leaven.sampling.stream import Policy

LOOKED_AHEAD = 4  # times as many samples as leave, among which they are chosen
AT_ONCE = 512  # rows whose similarities to the whole buffer are computed together


class MinRed(Policy):
    """Keeps what is least redundant: new samples take the place of the older one of the two that are most alike (Purushwalkam et al. 2022, section
    4.2).

    Samples are alike by the cosine of their features, of which a moving average is kept; a sample takes part once it has been trained on. While fewer
    than two have been, the oldest go.
    momentum: of the moving average, from 0 (the latest features alone) to below 1.
    """

    observes = True

    def __init__(self, momentum: float = 0.5):
        self.momentum = momentum
        self.arrived = torch.empty(0, dtype=torch.int64)
        self.features, self.known = torch.empty(0, 0), torch.empty(0, dtype=torch.bool)
        self.nearest, self.likeness = torch.empty(0, dtype=torch.int64), torch.empty(0)

    def places(self, numbers: Tensor, capacity: int, draw: Draw) -> Tensor:
        if not len(self.arrived):
            self.arrived, self.known = torch.full((capacity,), -1), torch.zeros(capacity, dtype=torch.bool)
            self.nearest, self.likeness = torch.full((capacity,), -1), torch.full((capacity,), -torch.inf)
        free = numbers[numbers < capacity]
        places = torch.cat([free, self.least_needed(len(numbers) - len(free))])
        self.arrived[places] = numbers
        return places

    def least_needed(self, count: int) -> Int64[Tensor, " count"]:
        """Places of samples that leave one after another: the older one of the two that are then most alike.

        Some samples that are more alike to one than all others are to any are compared with each other, until two of the others might be more alike.
        """
        gone = self.known.new_zeros(0, dtype=torch.int64)
        while len(gone) < count:
            alike, order = self.likeness.sort(descending=True)
            some = order[: min(int((alike > -torch.inf).sum()), LOOKED_AHEAD * count)]
            if len(some) < 2:
                left = torch.ones_like(self.known).index_fill_(0, gone, False).nonzero().flatten()
                return torch.cat([gone, left[self.arrived[left].argsort()[: count - len(gone)]]])
            bound = alike[len(some)] if len(some) < len(alike) else -torch.inf
            likeness, age, leave = self.features[some] @ self.features[some].T, self.arrived[some].tolist(), list[int]()
            likeness.fill_diagonal_(-torch.inf)
            while len(gone) + len(leave) < count:
                pair = divmod(int(likeness.argmax()), len(some))
                if leave and (likeness[pair] < bound or likeness[pair] == -torch.inf):
                    break
                older = min(pair, key=age.__getitem__)
                leave.append(older)
                likeness[older] = likeness[:, older] = -torch.inf
            away = some[torch.tensor(leave)]
            gone = torch.cat([gone, away])
            self.known[away], self.likeness[away] = False, -torch.inf
            self.search((self.known & torch.isin(self.nearest, away)).nonzero().flatten())
        return gone

    def observe(self, places: Int64[Tensor, " batch"], outputs: Mapping[str, Any]) -> None:
        if "features" not in outputs:
            raise UserError("this method says no features of a sample, by which minred compares them", hint="choose reservoir or fifo")
        views = outputs["features"] if isinstance(outputs["features"], list) else [outputs["features"]]
        seen = F.normalize(torch.stack([view.detach().float().cpu().flatten(1) for view in views]).mean(0), dim=1)
        if not self.features.numel():
            self.features = torch.zeros(len(self.arrived), seen.shape[1])
        before = torch.where(self.known[places, None], self.features[places], seen)
        self.features[places] = F.normalize(self.momentum * before + (1 - self.momentum) * seen, dim=1)
        self.known[places] = True
        moved = torch.zeros_like(self.known).index_fill_(0, places, True)
        lost = self.search(moved.nonzero().flatten(), others=self.known & ~moved)
        self.search(lost)

    def search(self, rows: Int64[Tensor, " rows"], others: Tensor | None = None) -> Int64[Tensor, " lost"]:
        """Find the nearest sample of each of these rows. others: samples whose nearest was known before these rows moved; returned are those of them
        whose nearest moved away."""
        best, by = torch.full_like(self.likeness, -torch.inf), torch.full_like(self.nearest, -1)
        for part in rows.split(AT_ONCE):
            likeness = self.features[part] @ self.features.T
            likeness[torch.arange(len(part)), part] = -torch.inf
            likeness[:, ~self.known] = -torch.inf
            self.likeness[part], self.nearest[part] = likeness.max(1)
            if others is not None:
                highest, place = likeness.max(0)
                by, best = torch.where(highest > best, part[place], by), torch.maximum(highest, best)
        if others is None:
            return rows[:0]
        moved = torch.zeros_like(self.known).index_fill_(0, rows, True)
        closer, near = others & (best >= self.likeness), others & (self.nearest >= 0) & moved[self.nearest]
        self.likeness[closer], self.nearest[closer] = best[closer], by[closer]
        return (near & ~closer).nonzero().flatten()

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("arrived", "features", "known", "nearest", "likeness")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, tensor in state.items():
            setattr(self, name, tensor.clone())
