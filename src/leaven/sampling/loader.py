"""The batches of each step on their device, selected ahead of time where that is work."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from leaven.errors import UserError
from leaven.sampling.sampler import Sampler, Selection

AHEAD = 3


class Loader:
    """This process's parts (rank-major, then micro-batch) of each global batch.

    mine: the numbers of the parts among all `parts`. Where samples take work to select, those of the next steps are selected in the background
    while the current one is trained on, unless they depend on its outcome.
    """

    def __init__(self, sampler: Sampler, mine: list[int], parts: int, device: torch.device):
        self.mine, self.parts, self.device = mine, parts, device
        self.background = ThreadPoolExecutor(1, thread_name_prefix="load") if sampler.samples.lazy else None
        self.use(sampler)

    def use(self, sampler: Sampler, start: int = 0) -> None:
        """Batches come from this sampler now, whose first step is `start`. Raises UserError where they do not divide into the parts."""
        for pool, size in sampler.sizes.items():
            if size % self.parts:
                what = f"a batch of {size}{f' {pool} samples' if pool else ''} does not divide into {self.parts} equal parts"
                raise UserError(what, hint="change --batch, --accumulate or --devices")
        self.sampler, self.start = sampler, start
        self.coming: dict[int, list[Future[Any]]] = {}

    def batches(self, step: int) -> list[Any]:
        """A Batch for each part, or a dict of them by pool."""
        if self.background is None or self.sampler.remembers:
            return [self.batch(part) for part in self._selections(step)]
        self.coming = {when: futures for when, futures in self.coming.items() if step <= when <= step + AHEAD}
        for when in range(step, step + AHEAD + 1):
            if when not in self.coming:
                self.coming[when] = [self.background.submit(self.batch, part) for part in self._selections(when)]
        return [future.result() for future in self.coming.pop(step)]

    def batch(self, selection: Selection) -> Any:
        """The selected samples, on the device."""
        if isinstance(selection, dict):
            return {pool: self.batch(part) for pool, part in selection.items()}
        return self.sampler.samples.select(selection).to(self.device)

    def close(self) -> None:
        if self.background is not None:
            self.background.shutdown(cancel_futures=True)

    def _selections(self, step: int) -> list[Selection]:
        selection = self.sampler.batch(step - self.start)
        if isinstance(selection, dict):
            return [{pool: chosen.chunk(self.parts)[part] for pool, chosen in selection.items()} for part in self.mine]
        return [selection.chunk(self.parts)[part] for part in self.mine]
