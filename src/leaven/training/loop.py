"""One loop for every method: batches, views, a step by each player, stages, metrics, health, checkpoints."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any

import torch
from torch import Tensor

from leaven.data.batch import Batch
from leaven.data.loader import Loader
from leaven.data.sampler import Sampler
from leaven.draw import Draw, seed_of
from leaven.errors import Interrupted, TrainingStopped, UserError
from leaven.methods.method import Method, Outputs, Recipe, Stage
from leaven.run import Run
from leaven.training.checkpoint import Checkpoints
from leaven.training.devices import peak_memory, processor_seconds, told_plainly
from leaven.training.distributed import agree, anywhere, average_gradients, processes, rank, share_state, wait_for_all
from leaven.training.early_stopping import EarlyStopping
from leaven.training.health import Monitor, Verdict
from leaven.training.interrupts import StopRequest
from leaven.training.optimizers import build_optimizer, gradient_norm, parameter_groups, restore
from leaven.training.plan import Plan, rate_factor, scaled_rate
from leaven.training.precision import in_double
from leaven.training.step import Autocast, Step
from leaven.training.trackers import Trackers

REPLAN_AT = (0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95)


@dataclasses.dataclass
class Settings:
    """How one training runs, beyond its method and plan. deadline: time.monotonic() at which a budget ends."""

    seed: int = 0
    accumulate: int = 1
    keep_going: bool = False
    checkpoint_seconds: float = 60.0
    deadline: float | None = None
    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))


class Training:
    """Trains a method on the samples of a data set. `run()` goes on from the newest checkpoint in the run's folder."""

    def __init__(
        self,
        method: Method,
        recipe: Recipe,
        rows: Batch,
        members: Tensor,
        plan: Plan,
        folder: Run,
        settings: Settings,
        autocast: Autocast,
        *,
        say: Callable[[str], None] = lambda line: None,
        progress: Callable[[int, int, float], object] = lambda step, total, loss: None,
        save_plan: Callable[[Plan], None] = lambda plan: None,
        trackers: Trackers | None = None,
        watch: bool = True,
        stopping: EarlyStopping | None = None,
    ):
        self.method, self.recipe, self.plan, self.folder, self.settings, self.autocast = method, recipe, plan, folder, settings, autocast
        self.members, self.watch, self.stopping = members, watch, stopping
        self.say, self.report_progress, self.save_plan, self.trackers = say, progress, save_plan, trackers or Trackers()
        self.parts = processes() * settings.accumulate
        sampler = Sampler(rows.label[members.to(rows.label.device)].cpu(), plan.batch, settings.seed, method.pools, self.parts)
        mine = [rank() * settings.accumulate + number for number in range(settings.accumulate)]
        self.loader = Loader(rows, members, sampler, mine, settings.device)
        self.stages = list(method.stages())
        self.trainable = [parameter for parameter in method.parameters() if parameter.requires_grad]
        self.double = any(parameter.dtype == torch.float64 for parameter in self.trainable)
        self.stepper = Step(method, autocast)
        self.checkpoints = Checkpoints(folder.checkpoints)
        probe = Draw(settings.seed, "probe").permutations(len(members), 1)[0][:1024].sort().values
        self.monitor = Monitor(method, self.loader.batch(probe), autocast, self._tell)
        self.step = self.stage = self.stage_start = 0
        self.window: dict[str, Tensor] = {}
        self.times: dict[str, float] = defaultdict(float)
        self.started: tuple[float, int] | None = None
        self.saved = self.processor = 0.0
        self.rehearsing, self.stop = False, StopRequest()

    # --- the story ---

    def run(self) -> dict[str, Any]:
        """Returns steps, samples, seconds, the time split, what was used of the machine, and the verdicts. Raises TrainingStopped or Interrupted."""
        self.method.to(self.settings.device)
        with self.stop.heard(), told_plainly(), closing(self.loader):
            state = self.checkpoints.load()
            wait_for_all()  # nobody writes before everybody has read
            if state is None:
                if rank() == 0 and self.folder.metrics_path.is_file():
                    self.say("no whole checkpoint is left: beginning anew")
                    self.folder.cut_metrics(0)
                if self.watch:
                    self.monitor.inputs()
                    self._stop_if_fatal()
                if not self.plan.steps:
                    self._calibrate()
                self._begin_stage(self.stages[0], prepare=True)
                if self.watch:
                    self.monitor.look(0, Outputs())
                self._checkpoint()
            else:
                self._restore(state)
            self.started = time.monotonic(), self.step
            self.processor -= processor_seconds()
            while self.stage < len(self.stages):
                end = self._stage_end(self.stage)
                while self.plan.progress(self.step) < end - 1e-9 and not (self.stopping and self.stopping.ended):
                    self._one_step()
                self.stage += 1
                if self.stage < len(self.stages):
                    self.stage_start = self.step
                    self._begin_stage(self.stages[self.stage], prepare=True)
                else:
                    self._finish()
                self._checkpoint()
        seconds = sum(self.times.values())
        return {
            "steps": self.step,
            "samples": self.step * self.plan.batch,
            "seconds": round(seconds, 3),
            "samples_per_second": round(self.step * self.plan.batch / max(seconds, 1e-9), 1),
            "time_split": {name: round(spent, 3) for name, spent in self.times.items()},
            "cpu_seconds": round(self.processor + processor_seconds(), 3),
            "peak_memory": peak_memory(self.settings.device),
            "health": [verdict.to_dict() for verdict in self.monitor.verdicts],
            **({"early_stopping": self.stopping.summary()} if self.stopping else {}),
        }

    def _one_step(self) -> None:
        clock = time.perf_counter()
        batches = self.loader.batches(self.step)
        clock = self._spent("data", clock)
        views = [self._views(batch, number) for number, batch in enumerate(batches)]
        clock = self._spent("views", clock)
        player = self._turn()
        if player:
            self._let_move(self.moving[player])
        optimizer = self.optimizers[player]
        optimizer.zero_grad()
        seed = (self.settings.seed, "forward", self.stage, self.step, rank())
        terms, outputs = self.stepper.gradients(views, seed, (player,) if player else ())
        average_gradients(self.moving[player])
        norm = gradient_norm(self.moving[player])
        clock = self._spent("forward and backward", clock)
        self._refuse_non_finite(terms, norm)
        self._set_rates(optimizer)
        if self.recipe.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(self.moving[player], self.recipe.clip, norm)
        optimizer.step()
        self.step += 1
        self.method.after_step(outputs, self._stage_progress(self.step))
        clock = self._spent("optimiser", clock)
        self._log(terms, norm, outputs)
        self._spent("health and checkpoints", clock)
        self._between_steps()

    # --- its parts ---

    def _views(self, batch: Any, number: int) -> Any:
        part = rank() * self.settings.accumulate + number
        draw = Draw(self.settings.seed, "views", self.stage, self.step, part=part, parts=self.parts, device=self.settings.device)
        with torch.no_grad():
            views = self.method.views(batch, draw)
        return in_double(views) if self.double else views

    def _turn(self) -> str:
        players = self.method.players
        return players[(self.step - self.stage_start) % len(players)] if players else ""

    def _begin_stage(self, stage: Stage, prepare: bool) -> None:
        self.method.stage = self.stage
        for parameter in self.trainable:
            parameter.requires_grad_(True)
        if prepare and stage.prepare is not None:
            torch.manual_seed(seed_of(self.settings.seed, "prepare", self.stage))
            stage.prepare(self._encode)
            share_state(self.method)
        rate = scaled_rate(self.recipe.lr, self.plan.batch, self.recipe.batch, self.recipe.lr_rule)
        self.optimizers, self.moving = {}, {}
        for player in dict.fromkeys(self.method.players or ("",)):
            modules = (getattr(self.method, player),) if player else stage.trains
            groups = parameter_groups(self.method, self.recipe, modules)
            self.moving[player] = [parameter for group in groups for parameter in group["params"]]
            self.optimizers[player] = build_optimizer(self.recipe, groups, rate)
        self.rate = rate
        self.method.train()
        if stage.trains is not None:
            self._let_move([parameter for parameters in self.moving.values() for parameter in parameters])

    def _let_move(self, parameters: list[torch.nn.Parameter]) -> None:
        moving = {id(parameter) for parameter in parameters}
        for parameter in self.trainable:
            parameter.requires_grad_(id(parameter) in moving)

    def _set_rates(self, optimizer: torch.optim.Optimizer) -> None:
        middle = (self._stage_progress(self.step) + self._stage_progress(self.step + 1)) / 2
        factor = rate_factor(middle, self.recipe.warmup, self.recipe.schedule)
        for group in optimizer.param_groups:
            group["lr"] = self.rate * group["lr_scale"] * (1.0 if group["constant"] else factor)

    def _stage_end(self, stage: int) -> float:
        return 1.0 if stage == len(self.stages) - 1 else sum(each.share for each in self.stages[: stage + 1])

    def _stage_progress(self, step: int) -> float:
        """Share (0-1) of the current stage that lies before this step."""
        start, end = sum(each.share for each in self.stages[: self.stage]), self._stage_end(self.stage)
        return min(1.0, max(0.0, (self.plan.progress(step) - start) / (end - start)))

    def _finish(self) -> None:
        if self.stopping is not None:
            self.stopping.restore(self.method)
        self.method.finish()

    def _encode(self, function: Callable[[Batch], Tensor]) -> Tensor:
        def batches() -> Iterator[Batch]:
            for part in torch.arange(len(self.members)).split(256):
                if anywhere(self.stop.asked)[0]:
                    raise Interrupted(f"stopped before stage {self.stages[self.stage].name}")
                yield self.loader.batch(part)

        return self._mapped(function, batches())

    def _encode_held_out(self, function: Callable[[Batch], Tensor]) -> Tensor:
        assert self.stopping is not None
        return self._mapped(function, self.stopping.batches(self.settings.device))

    def _mapped(self, function: Callable[[Batch], Tensor], batches: Iterable[Batch]) -> Tensor:
        self.method.eval()
        with torch.no_grad(), self.autocast():
            rows = [function(batch).float() for batch in batches]
        self.method.train()
        return torch.cat(rows)

    def _refuse_non_finite(self, terms: dict[str, Tensor], norm: Tensor) -> None:
        bad = [name for name, term in terms.items() if not term.isfinite()] or ([] if norm.isfinite() else ["its gradient"])
        if bad:
            why = f"{bad[0]} is not finite; usual causes: a learning rate that is too high, or inputs with NaN"
            self.monitor.give(Verdict("non-finite loss", self.step, why, fatal=True))
            raise TrainingStopped("non-finite loss", why, step=self.step)

    def _tell(self, verdict: Verdict) -> None:
        self.say(verdict.line())
        self.trackers.verdict(self.step, verdict.line())

    def _log(self, terms: dict[str, Tensor], norm: Tensor, outputs: Outputs) -> None:
        if self.rehearsing or not self.watch:
            return
        values = torch.stack([*terms.values(), norm]).double()
        names = ",".join(terms)  # players have terms of their own
        self.window[names] = self.window.get(names, 0.0) + torch.cat([values, values.new_ones(1)])
        if self.step % self.plan.log_every and self.plan.progress(self.step) < 1:
            return
        row: dict[str, Any] = {
            "step": self.step,
            "stage": self.stages[self.stage].name,
            "progress": self.plan.progress(self.step),
            "lr": self.rate_now(),
        }
        row |= window_means(self.window)
        self.window = {}
        if self.step % self.plan.look_every == 0 or self.plan.progress(self.step) >= 1:
            row |= self.monitor.look(self.step, outputs)
            if self.stopping is not None:
                row |= self.stopping.look(self.step, self.method, self.method.held_out(self._encode_held_out))
        if (chance := self.method.chance(outputs)) is not None:
            row["chance"] = chance
        self.monitor.judge_loss(self.step, self._stage_progress(self.step), row["loss"], chance)
        if rank() == 0:
            elapsed = sum(self.times.values())
            clock = {"seconds": round(elapsed, 3), "samples_per_second": round(self.step * self.plan.batch / max(elapsed, 1e-9), 1)}
            row["clock"] = clock
            self.folder.append_metrics(row)
            self.trackers.row(row)
            self.report_progress(self.step, self.plan.total, row["loss"])
        self._stop_if_fatal()

    def rate_now(self) -> float:
        return max(group["lr"] for optimizer in self.optimizers.values() for group in optimizer.param_groups)

    def _stop_if_fatal(self) -> None:
        if self.settings.keep_going:
            return
        verdict = self.monitor.fatal()
        if agree(verdict is not None):
            verdict = verdict or Verdict("stopped", self.step, "the first process stopped", fatal=True)
            raise TrainingStopped(verdict.verdict, verdict.why, step=self.step)

    # --- time ---

    def _spent(self, part: str, since: float) -> float:
        now = time.perf_counter()
        self.times[part] += now - since
        return now

    def _calibrate(self) -> None:
        """Turn the time budget into steps."""
        assert self.settings.deadline is not None
        typical = self.rehearse(min(5.0, 0.05 * (self.settings.deadline - time.monotonic())))
        self.plan.steps = max(1, int(agree((self.settings.deadline - time.monotonic()) / typical / 1.02)))
        self.save_plan(self.plan)

    def rehearse(self, seconds: float) -> float:
        """Seconds that a step takes: the median of a few real steps, four rounds at least, which are then undone.

        Where several players take turns of different lengths, the mean of their medians; where stages train different parts, the mean over the whole
        training.
        """
        before, planned = copy.deepcopy(self.method.state_dict()), self.plan.steps
        self.plan.steps = planned or 1_000_000
        shares: dict[tuple[torch.nn.Module, ...] | None, float] = defaultdict(float)
        first: dict[tuple[torch.nn.Module, ...] | None, int] = {}
        for number, stage in enumerate(self.stages):
            shares[stage.trains] += self._stage_end(number) - (self._stage_end(number - 1) if number else 0.0)
            first.setdefault(stage.trains, number)
        self.rehearsing = True
        typical = sum(share * self._rehearsed(first[trains], seconds / len(shares)) for trains, share in shares.items())
        self.rehearsing = False
        self.step, self.stage, self.plan.steps = 0, 0, planned
        self.times.clear()
        self.method.load_state_dict(before)
        return typical

    def _rehearsed(self, stage: int, seconds: float) -> float:
        self.stage = stage
        self._begin_stage(self.stages[stage], prepare=True)
        begin = time.monotonic()
        durations: list[float] = []
        turns = max(1, len(self.method.players))
        while len(durations) < 4 * turns or agree(time.monotonic() - begin < seconds and len(durations) < 200):
            clock = time.monotonic()
            self._one_step()
            durations.append(time.monotonic() - clock)
        rounds = [durations[1:][turn::turns] for turn in range(turns)]  # the first step is slower than any other
        return sum(sorted(each)[len(each) // 2] for each in rounds) / turns

    def _between_steps(self) -> None:
        if not self.rehearsing:
            self._replan(time.monotonic())
        late = time.monotonic() - self.saved > self.settings.checkpoint_seconds
        asked, due = anywhere(self.stop.asked, late)  # agreed on, since a process that ends alone leaves the others waiting for it
        if (asked or due) and not self.rehearsing:
            self._checkpoint()
        if asked:
            raise Interrupted(f"stopped after step {self.step}")

    def _replan(self, now: float) -> None:
        """Where a budget's end has drifted by more than 1 %, change the number of steps, and write that down before going on."""
        if self.settings.deadline is None or self.plan.budget is None or not any(self._crosses(share) for share in REPLAN_AT):
            return
        if self.plan.progress(self.step) >= 1 or any(at >= self.step for at, _ in self.plan.changes):
            return
        assert self.started is not None
        since, first = self.started
        pace = (now - since) / (self.step - first)
        left = int(agree(max(1.0, (self.settings.deadline - now) / pace)))
        if abs(left - (self.plan.total - self.step)) > 0.01 * self.plan.total:
            self.plan.change(self.step, self.step + left)
            self.save_plan(self.plan)

    def _crosses(self, share: float) -> bool:
        return self.plan.progress(self.step - 1) < share <= self.plan.progress(self.step)

    # --- what survives ---

    def _checkpoint(self) -> None:
        """Called in all processes, written by the first; where it cannot write, all end."""
        failed: Exception | None = None
        if rank() == 0:
            state = {
                "method": self.method.state_dict(),
                "optimizers": {player: optimizer.state_dict() for player, optimizer in self.optimizers.items()},
                "step": self.step,
                "stage": self.stage,
                "stage_start": self.stage_start,
                "window": self.window,
                "monitor": self.monitor.state(),
                "stopping": self.stopping.state() if self.stopping else None,
                "times": {"parts": dict(self.times), "processor": self.processor + (processor_seconds() if self.started else 0.0)},
            }
            try:
                self.checkpoints.save(self.step, state)
            except UserError as error:
                failed = error
        if agree(failed is not None):
            raise failed or Interrupted("the first process could not write its checkpoint")
        self.saved = time.monotonic()

    def _restore(self, state: dict[str, Any]) -> None:
        self.step, self.stage, self.stage_start = state["step"], state["stage"], state["stage_start"]
        self.method.load_state_dict(state["method"])
        if self.stage < len(self.stages):
            self._begin_stage(self.stages[self.stage], prepare=False)
            for player, stored in state["optimizers"].items():
                restore(self.optimizers[player], stored)
        self.window = state["window"]
        self.monitor.load(state["monitor"])
        if self.stopping is not None:
            self.stopping.load(state["stopping"])
        self.times.update(state["times"]["parts"])
        self.processor = state["times"]["processor"]
        if self.settings.deadline is not None:
            self.settings.deadline -= sum(self.times.values())
        if rank() == 0:
            self.folder.cut_metrics(self.step)
        self.say(f"going on from step {self.step}")


def window_means(window: dict[str, Tensor]) -> dict[str, float]:
    """By name: the means of each term, of their sum and of the gradient's norm, over the steps that had them. Sums by the names of their terms."""
    sums: dict[str, float] = defaultdict(float)
    steps: dict[str, float] = defaultdict(float)
    for names, total in window.items():
        *terms, norm, count = total.tolist()
        for name, value in [*zip(names.split(","), terms, strict=True), ("loss", sum(terms)), ("grad_norm", norm)]:
            sums[name] += value
            steps[name] += count
    return {name: value / steps[name] for name, value in sums.items()}
