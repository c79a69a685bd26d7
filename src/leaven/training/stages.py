"""The stages of a training: the networks, samples and optimisers in use, and where each stage ends."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from leaven.data.batch import Batch
from leaven.draw import seed_of
from leaven.errors import Interrupted
from leaven.methods.method import Method, Recipe, Stage
from leaven.modules.batchnorm import across_processes
from leaven.sampling import Loader, Source
from leaven.training.distributed import anywhere, processes, rank, share_state
from leaven.training.optimizers import Optimizers
from leaven.training.plan import Plan
from leaven.training.request import Request
from leaven.training.step import Autocast


class Stages:
    """The stage that is being trained, and what it trains.

    number: of the stage, equal to their count at the end. start: the step with which it began. chosen: the numbers of its samples (None: all).
    stopped: whether the user asked for an end.
    """

    def __init__(
        self,
        method: Method,
        recipe: Recipe,
        source: Source,
        plan: Plan,
        autocast: Autocast,
        request: Request,
        device: torch.device,
        stopped: Callable[[], bool],
    ):
        self.method, self.recipe, self.source, self.plan, self.autocast = method, recipe, source, plan, autocast
        self.seed, self.device, self.stopped = request.seed, device, stopped
        self.number = self.start = 0
        self.chosen: Tensor | None = None
        self.all: list[Stage] = list(method.stages())
        self.double = any(parameter.dtype == torch.float64 for parameter in method.parameters() if parameter.requires_grad)
        self.sampler = source.sampler(plan.batch, self.seed, "order", pools=method.pools, nearness=method.nearness)
        mine = [rank() * request.accumulate + number for number in range(request.accumulate)]
        self.loader = Loader(self.sampler, mine, processes() * request.accumulate, device)
        self._optimizers: Optimizers | None = None

    @property
    def current(self) -> Stage:
        return self.all[self.number]

    @property
    def ended(self) -> bool:
        return self.number == len(self.all)

    @property
    def optimizers(self) -> Optimizers:
        assert self._optimizers is not None, "no stage has begun"
        return self._optimizers

    def end(self, number: int | None = None) -> float:
        """The share (0-1) of the training that lies before the end of a stage (None: the current one)."""
        number = self.number if number is None else number
        return 1.0 if number == len(self.all) - 1 else sum(stage.share for stage in self.all[: number + 1])

    def progress(self, step: int) -> float:
        """The share (0-1) of the current stage that lies before this step."""
        start, end = sum(stage.share for stage in self.all[: self.number]), self.end()
        return min(1.0, max(0.0, (self.plan.progress(step) - start) / (end - start)))

    def player(self, step: int) -> str:
        """Whose turn it is; "" where all parameters move together."""
        players = self.method.players
        return players[(step - self.start) % len(players)] if players else ""

    def begin(self, step: int) -> None:
        """Start the current stage: its networks, its targets, its samples, its optimisers."""
        if self._optimizers is not None:
            self._optimizers.release()
        self.method.stage, self.start = self.number, step
        if (grow := self.current.grow) is not None:
            torch.manual_seed(seed_of(self.seed, "grow", self.number))
            grow()
            self._take_in_networks()
        if (prepare := self.current.prepare) is not None:
            torch.manual_seed(seed_of(self.seed, "prepare", self.number))
            prepare(self.encode)
        if grow is not None or prepare is not None:
            share_state(self.method)
        self.chosen = None if self.current.members is None else self.current.members()
        self._set_out()

    def grow_until(self, number: int) -> None:
        """Bring the networks of this stage, whose state is then loaded."""
        self.method.grow_until(number)
        if any(stage.grow is not None for stage in self.all[: number + 1]):
            self._take_in_networks()

    def _take_in_networks(self) -> None:
        """Put networks that a stage brought where the others are, and ask what this and later stages do with them."""
        self.method.to(self.device)
        if self.double:
            self.method.double()
        if processes() > 1:
            across_processes(self.method)
        self.all = list(self.method.stages())

    def _set_out(self) -> None:
        """Choose the samples and optimisers of the current stage."""
        if self.chosen is None:
            self.loader.use(self.sampler)
        else:
            sampler = self.source.sampler(
                self.plan.batch, self.seed, "order", self.number, pools=self.method.pools, members=self.chosen, nearness=self.method.nearness
            )
            self.loader.use(sampler, self.start)
        recipe = dataclasses.replace(self.recipe, **self.current.recipe)
        self._optimizers = Optimizers(self.method, recipe, self.plan.batch, self.current.trains)
        self.method.train()

    def encode(self, function: Callable[[Batch], Tensor], batches: Iterable[Batch] | None = None) -> Tensor:
        """The function's rows for these batches (None: all samples in order, before a stage), in eval mode and without gradients."""
        rows: list[Tensor] = []
        self.method.eval()
        with torch.no_grad(), self.autocast():
            for batch in self.source.everything() if batches is None else batches:
                if batches is None and anywhere(self.stopped())[0]:
                    raise Interrupted(f"stopped before stage {self.current.name}")
                rows.append(function(batch.to(self.device)).float())
        self.method.train()
        return torch.cat(rows)

    def state_dict(self) -> dict[str, Any]:
        return {
            "method": self.method.state_dict(),
            "optimizers": self.optimizers.state_dict(),
            "stage": self.number,
            "stage_start": self.start,
            "members": self.chosen,
            "sampler": self.loader.sampler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on within a stage, or after the last one. Checkpoints of earlier versions hold no members and no sampler."""
        self.number, self.start, self.chosen = state["stage"], state["stage_start"], state.get("members")
        self.grow_until(self.number)
        self.method.load_state_dict(state["method"])
        if not self.ended:
            self.method.stage = self.number
            self._set_out()
            self.optimizers.load_state_dict(state["optimizers"])
            self.loader.sampler.load_state_dict(state.get("sampler", {}))
