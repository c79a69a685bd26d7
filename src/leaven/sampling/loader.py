"""The batches of each step on their device, selected ahead of time where that is work."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from leaven.errors import UserError
from leaven.sampling.sampler import Sampler, Selection

AHEAD, HELD = 3, 2**28  # steps, and bytes of their batches


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
        self.sampler, self.start, self.ahead = sampler, start, AHEAD
        self.coming: dict[int, list[Future[Any]]] = {}

    def batches(self, step: int) -> list[Any]:
        """A Batch for each part, or a dict of them by pool."""
        if self.background is None or self.sampler.remembers:
            return [self.batch(part) for part in self._selections(step)]
        self.coming = {when: futures for when, futures in self.coming.items() if step <= when <= step + self.ahead}
        for when in range(step, step + self.ahead + 1):
            if when not in self.coming:
                self.coming[when] = [self.background.submit(self.batch, part) for part in self._selections(when)]
        batches = [future.result() for future in self.coming.pop(step)]
        self.ahead = min(AHEAD, max(1, HELD // max(1, sum(map(size, batches)))))
        return batches

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


def size(batch: Any) -> int:
    """Bytes of a batch, or of those of all pools."""
    return sum(map(size, batch.values())) if isinstance(batch, dict) else batch.nbytes
