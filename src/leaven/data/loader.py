"""The batches of each step, selected ahead of time where that is work."""

from __future__ import annotations

import dataclasses
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from leaven.data.batch import Batch
from leaven.data.sampler import Sampler

AHEAD = 3


class Loader:
    """The samples of some parts of each global batch, on a device.

    rows: the data set; members: which of them are trained on. Where rows have to be decoded, those of the next steps are, in the background, while
    the current one is trained on.
    """

    def __init__(self, rows: Batch, members: Tensor, sampler: Sampler, parts: list[int], device: torch.device):
        self.rows, self.members, self.sampler, self.parts, self.device = rows, members, sampler, parts, device
        slow = any(value.lazy for value in rows.roles.values())
        self.background = ThreadPoolExecutor(1, thread_name_prefix="load") if slow else None
        self.coming: dict[int, list[Future[Any]]] = {}

    def batches(self, step: int) -> list[Any]:
        """A Batch for each part, or a dict of them by pool; `index` counts within the members."""
        if self.background is None:
            return [self.batch(rows) for rows in self._wanted(step)]
        self.coming = {when: futures for when, futures in self.coming.items() if step <= when <= step + AHEAD}
        for when in range(step, step + AHEAD + 1):
            if when not in self.coming:
                self.coming[when] = [self.background.submit(self.batch, rows) for rows in self._wanted(when)]
        return [future.result() for future in self.coming.pop(step)]

    def batch(self, rows: Any) -> Any:
        """The samples of these members."""
        if isinstance(rows, dict):
            return {pool: self.batch(part) for pool, part in rows.items()}
        batch = self.rows.select(self.members[rows].to(self.rows.label.device)).to(self.device)
        return dataclasses.replace(batch, index=rows.to(self.device))

    def close(self) -> None:
        if self.background is not None:
            self.background.shutdown(cancel_futures=True)

    def _wanted(self, step: int) -> list[Any]:
        return [self.sampler.rows(step, part) for part in self.parts]
