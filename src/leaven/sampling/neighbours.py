"""Windows of recordings, each with one that is near it in time and one that is far from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from leaven.data.batch import Batch
from leaven.draw import Draw
from leaven.errors import UserError
from leaven.modalities import modality_of
from leaven.sampling.passes import Passes
from leaven.sampling.sampler import Nearness, Sampler, Samples

POOLS = ("window", "near", "far")
TOUCHING = 0.01  # of a window, by which two that follow each other may seem to overlap, since times are rounded


class Neighbours(Sampler):
    """Shuffled passes over the windows that have a near and a far one; which these are is drawn anew in each step.

    origin: (N, 3) of all samples, as `Wave` and `Signal` have it. members: (M,) int64 numbers of those to choose from. batch: windows that each have
    a near and a far one beside them.
    """

    def __init__(self, samples: Samples, origin: Tensor, members: Tensor, batch: int, nearness: Nearness, *key: object):
        recording, begin, end = origin[members].double().unbind(1)
        stride = 2 * float(end.max() + nearness.near + nearness.far) + 1  # from one recording to the next, on one line of time
        order = torch.argsort(recording * stride + begin, stable=True)
        self.numbers, recording, begin, end = members[order], recording[order], begin[order], end[order]
        starts, ends, slack = recording * stride + begin, recording * stride + end, TOUCHING * (end - begin)
        first, last = torch.searchsorted(recording, recording), torch.searchsorted(recording, recording, right=True)
        after_near, before_near = torch.searchsorted(starts, ends - slack), torch.searchsorted(ends, starts + slack, right=True)
        self.near = (
            Ranges(torch.searchsorted(starts, starts - nearness.near - slack), before_near),
            Ranges(after_near, torch.searchsorted(starts, starts + nearness.near + slack, right=True)),
        )
        self.far = (
            Ranges(first, torch.searchsorted(starts, starts - nearness.far, right=True)),
            Ranges(torch.searchsorted(starts, starts + nearness.far), last),
        )
        self.others = Ranges(torch.zeros_like(first), first), Ranges(last, torch.full_like(last, len(members)))
        self.elsewhere, self.key = nearness.elsewhere, key
        anchors = (sum_of(self.near) > 0) & (sum_of(self.far) + sum_of(self.others) > 0)
        if not anchors.any():
            raise UserError(
                f"no recording has two windows within {nearness.near:g} s, and others that are far from them",
                hint="cut long recordings with --set window=2s, or change --set near and far",
            )
        self.passes = Passes(samples, anchors.nonzero()[:, 0].repeat(-(-batch // int(anchors.sum()))), batch, *key)
        super().__init__(samples, dict.fromkeys(POOLS, batch))

    def batch(self, step: int) -> dict[str, Tensor]:
        anchors, draw = self.passes.batch(step), Draw(*self.key, "neighbours", step)
        own, others = sum_of(self.far)[anchors] > 0, sum_of(self.others)[anchors] > 0
        elsewhere = others & (~own | draw.child("elsewhere").chance(self.elsewhere, len(anchors)))
        number = draw.child("far").uniform(len(anchors))
        far = torch.where(elsewhere, chosen(self.others, anchors, number), chosen(self.far, anchors, number))
        near = chosen(self.near, anchors, draw.child("near").uniform(len(anchors)))
        return {pool: self.numbers[places] for pool, places in zip(POOLS, (anchors, near, far), strict=True)}


@dataclass(frozen=True)
class Ranges:
    """For each place, those from first to before last."""

    first: Tensor
    last: Tensor

    @property
    def count(self) -> Tensor:
        return (self.last - self.first).clamp(min=0)


def sum_of(ranges: tuple[Ranges, Ranges]) -> Tensor:
    return ranges[0].count + ranges[1].count


def chosen(ranges: tuple[Ranges, Ranges], places: Tensor, number: Tensor) -> Tensor:
    """One of the places of both ranges, by a number from 0 to 1; 0 where there is none."""
    before, total = ranges[0].count[places], sum_of(ranges)[places]
    pick = (number.double() * total).long().minimum((total - 1).clamp(min=0))
    place = torch.where(pick < before, ranges[0].first[places] + pick, ranges[1].first[places] + pick - before)
    return torch.where(total > 0, place, 0)


def origins(rows: Batch) -> Tensor:
    """(N, 3) where the samples come from. UserError where they are recordings of their own."""
    values: Mapping[str, Any] = rows.inputs
    known = [origin for value in values.values() if (origin := modality_of(value).origins(value)) is not None]
    if not known:
        raise UserError(
            "this method compares windows of one recording, and here every sample is a recording of its own",
            hint="give long recordings (--set window=2s), or choose another method",
        )
    return known[0]
