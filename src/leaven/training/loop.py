"""One loop for every method: batches, views, a step by each player, stages, metrics, health, checkpoints."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import torch
from torch import Tensor

from leaven.data.batch import Batch
from leaven.draw import Draw, seed_of
from leaven.errors import Interrupted, TrainingStopped
from leaven.methods.method import Method, Outputs, Recipe
from leaven.modules.batchnorm import across_processes
from leaven.run import Run
from leaven.sampling import Loader, Members, Source, Stream
from leaven.training.checkpoint import Checkpoints
from leaven.training.devices import peak_memory, processor_seconds, told_plainly
from leaven.training.distributed import agree, anywhere, average_gradients, processes, rank, share_state, wait_for_all
from leaven.training.early_stopping import EarlyStopping
from leaven.training.health import Monitor, Verdict
from leaven.training.interrupts import StopRequest
from leaven.training.optimizers import Optimizers
from leaven.training.plan import Budget, Plan
from leaven.training.precision import in_double
from leaven.training.step import Autocast, Step
from leaven.training.trackers import Trackers
from leaven.training.window import Window

PROBE = 1024  # samples that health looks at


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
    """Trains a method on members of a data set, or on a stream. `run()` goes on from the newest checkpoint of the run.

    members: int64 places in `rows` (None: all). on_step: called after every step with its number, before that may be written to a checkpoint.
    """

    def __init__(
        self,
        method: Method,
        recipe: Recipe,
        rows: Batch | Stream,
        members: Tensor | None,
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
        on_step: Callable[[int], object] = lambda step: None,
    ):
        self.method, self.recipe, self.plan, self.folder, self.settings, self.autocast = method, recipe, plan, folder, settings, autocast
        self.watch, self.stopping, self.say, self.report_progress, self.on_step = watch, stopping, say, progress, on_step
        self.trackers, self.budget = trackers or Trackers(), Budget(plan, settings.deadline, save_plan)
        self.source: Source = rows if isinstance(rows, Stream) else Members(rows, members)
        self.sampler = self.source.sampler(plan.batch, settings.seed, "order", pools=method.pools)
        self.parts = processes() * settings.accumulate
        mine = [rank() * settings.accumulate + number for number in range(settings.accumulate)]
        self.loader = Loader(self.sampler, mine, self.parts, settings.device)
        self.stages = list(method.stages())
        self.double = any(parameter.dtype == torch.float64 for parameter in method.parameters() if parameter.requires_grad)
        self.stepper = Step(method, autocast)
        self.checkpoints = Checkpoints(folder.checkpoints)
        pools = self.loader.batch(self.sampler.batch(0)) if method.pools and type(method).examine is not Method.examine else None
        self.monitor = Monitor(method, self.source.probe(PROBE, settings.seed).to(settings.device), autocast, self._give, pools)
        self.step = self.stage = self.stage_start = 0
        self.chosen: Tensor | None = None
        self.optimizers: Optimizers | None = None
        self.window = Window()
        self.times: dict[str, float] = defaultdict(float)
        self.saved = self.processor = 0.0
        self.processor_start: float | None = None
        self.stop = StopRequest()

    # --- the story ---

    def run(self) -> dict[str, Any]:
        """Returns steps, samples, seconds, the time split, what was used of the machine, and the verdicts. Raises TrainingStopped or Interrupted."""
        self.method.to(self.settings.device)
        with self.stop.heard(), told_plainly(), closing(self.loader):
            state = self.checkpoints.load()
            wait_for_all()  # nobody writes before everybody has read
            if state is None:
                self._begin()
            else:
                self._restore(state)
            self.budget.begin(self.step, sum(self.times.values()))
            self.processor_start = processor_seconds()
            while self.stage < len(self.stages):
                end = self._stage_end(self.stage)
                while self.plan.progress(self.step) < end - 1e-9 and not (self.stopping and self.stopping.ended):
                    self._one_step()
                self.stage += 1
                if self.stage < len(self.stages):
                    self._begin_stage()
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
            "cpu_seconds": round(self._processor_used(), 3),
            "peak_memory": peak_memory(self.settings.device),
            "health": [verdict.to_dict() for verdict in self.monitor.verdicts],
            **({"early_stopping": self.stopping.summary()} if self.stopping else {}),
        }

    def _one_step(self) -> None:
        terms, norm, outputs = self._update()
        with self._timed("health and checkpoints"):
            self._log(terms, norm, outputs)
        self.on_step(self.step)
        self.budget.correct(self.step)
        late = time.monotonic() - self.saved > self.settings.checkpoint_seconds
        asked, due = anywhere(self.stop.asked, late)  # agreed on, since a process that ends alone leaves the others waiting for it
        if asked or due:
            self._checkpoint()
        if asked:
            raise Interrupted(f"stopped after step {self.step}")

    def _update(self) -> tuple[dict[str, Tensor], Tensor, Outputs]:
        """Move the parameters once. Returns the loss terms, the length of the gradient, and the outputs."""
        player = self._player()
        sampler, optimizers = self.loader.sampler, self._optimizers()
        with self._timed("data"):
            batches = self.loader.batches(self.step)
        with self._timed("views"):
            views = [self._views(batch, number) for number, batch in enumerate(batches)]
        with self._timed("forward and backward"):
            optimizers.begin(player)
            seed = (self.settings.seed, "forward", self.stage, self.step, rank())
            terms, outputs = self.stepper.gradients(views, seed, (player,) if player else (), sampler.observes)
            average_gradients(optimizers.moving[player])
            norm = optimizers.gradient_norm(player)
        with self._timed("optimiser"):
            self._refuse_non_finite(terms, norm)
            optimizers.step(player, norm, (self._stage_progress(self.step) + self._stage_progress(self.step + 1)) / 2)
            self.step += 1
            self.method.after_step(outputs, self._stage_progress(self.step))
            if sampler.observes:
                sampler.observe(outputs)
        return terms, norm, outputs

    def _processor_used(self) -> float:
        return self.processor + (0.0 if self.processor_start is None else processor_seconds() - self.processor_start)

    # --- parts of a step ---

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.times[part] += time.perf_counter() - begin

    def _player(self) -> str:
        players = self.method.players
        return players[(self.step - self.stage_start) % len(players)] if players else ""

    def _views(self, batch: Any, number: int) -> Any:
        part = rank() * self.settings.accumulate + number
        draw = Draw(self.settings.seed, "views", self.stage, self.step, part=part, parts=self.parts, device=self.settings.device)
        with torch.no_grad():
            views = self.method.views(batch, draw)
        return in_double(views) if self.double else views

    def _refuse_non_finite(self, terms: dict[str, Tensor], norm: Tensor) -> None:
        bad = [name for name, term in terms.items() if not term.isfinite()] or ([] if norm.isfinite() else ["its gradient"])
        if bad:
            why = f"{bad[0]} is not finite; usual causes: a learning rate that is too high, or inputs with NaN"
            self.monitor.give(Verdict("non-finite loss", self.step, why, fatal=True))
            raise TrainingStopped("non-finite loss", why, step=self.step)

    # --- stages ---

    def _begin(self) -> None:
        """Start a training that has no checkpoint."""
        if rank() == 0 and self.folder.metrics_path.is_file():
            self.say("no whole checkpoint is left: beginning anew")
            self.folder.cut_metrics(0)
        if self.watch:
            self.monitor.inputs()
            self._stop_if_fatal()
        if not self.plan.steps:
            self.budget.settle(self.rehearse(min(5.0, 0.05 * self.budget.left)))
        self._begin_stage()
        if self.watch:
            self.monitor.look(0, Outputs())
        self._checkpoint()

    def _begin_stage(self) -> None:
        """Start the current stage: its networks, its targets, its samples, its optimisers."""
        if self.optimizers is not None:
            self.optimizers.release()
        self.method.stage, self.stage_start = self.stage, self.step
        if (grow := self.stages[self.stage].grow) is not None:
            torch.manual_seed(seed_of(self.settings.seed, "grow", self.stage))
            grow()
            self._take_in_networks()
        stage = self.stages[self.stage]
        if stage.prepare is not None:
            torch.manual_seed(seed_of(self.settings.seed, "prepare", self.stage))
            stage.prepare(self._encode)
        if stage.prepare is not None or stage.grow is not None:
            share_state(self.method)
        self.chosen = stage.members() if stage.members is not None else None
        self._set_out()

    def _set_out(self) -> None:
        """Choose the samples and optimisers of the current stage."""
        stage, seed = self.stages[self.stage], self.settings.seed
        if self.chosen is None:
            self.loader.use(self.sampler)
        else:
            sampler = self.source.sampler(self.plan.batch, seed, "order", self.stage, pools=self.method.pools, members=self.chosen)
            self.loader.use(sampler, self.stage_start)
        self.optimizers = Optimizers(self.method, dataclasses.replace(self.recipe, **stage.recipe), self.plan.batch, stage.trains)
        self.method.train()

    def _grow_until(self, stage: int) -> None:
        """Bring the networks of this stage, whose state is then loaded."""
        self.method.grow_until(stage)
        if any(begun.grow is not None for begun in self.stages[: stage + 1]):
            self._take_in_networks()

    def _take_in_networks(self) -> None:
        """Put networks that a stage brought where the others are, and ask what this and later stages do with them."""
        self.method.to(self.settings.device)
        if self.double:
            self.method.double()
        if processes() > 1:
            across_processes(self.method)
        self.stages = list(self.method.stages())

    def _optimizers(self) -> Optimizers:
        assert self.optimizers is not None, "no stage has begun"
        return self.optimizers

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
            for batch in self.source.everything():
                if anywhere(self.stop.asked)[0]:
                    raise Interrupted(f"stopped before stage {self.stages[self.stage].name}")
                yield batch.to(self.settings.device)

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

    # --- metrics and health ---

    def _log(self, terms: dict[str, Tensor], norm: Tensor, outputs: Outputs) -> None:
        if not self.watch:
            return
        self.window.add(terms, norm)
        progress = self.plan.progress(self.step)
        if self.step % self.plan.log_every and progress < 1:
            return
        row: dict[str, Any] = {"step": self.step, "stage": self.stages[self.stage].name, "progress": progress, "lr": self._optimizers().rate}
        row |= self.window.take_means()
        if self.step % self.plan.look_every == 0 or progress >= 1:
            row |= self.monitor.look(self.step, outputs)
            if self.stopping is not None:
                row |= self.stopping.look(self.step, self.method, self.method.held_out(self._encode_held_out))
        if (chance := self.method.chance(outputs)) is not None:
            row["chance"] = chance
        self.monitor.judge_loss(self.step, self._stage_progress(self.step), row["loss"], chance)
        if rank() == 0:
            elapsed = sum(self.times.values())
            row["clock"] = {"seconds": round(elapsed, 3), "samples_per_second": round(self.step * self.plan.batch / max(elapsed, 1e-9), 1)}
            self.folder.append_metrics(row)
            self.trackers.row(row)
            self.report_progress(self.step, self.plan.total, row["loss"])
        self._stop_if_fatal()

    def _give(self, verdict: Verdict) -> None:
        self.say(verdict.line())
        self.trackers.verdict(self.step, verdict.line())

    def _stop_if_fatal(self) -> None:
        if self.settings.keep_going:
            return
        verdict = self.monitor.fatal()
        if agree(verdict is not None):
            verdict = verdict or Verdict("stopped", self.step, "the first process stopped", fatal=True)
            raise TrainingStopped(verdict.verdict, verdict.why, step=self.step)

    # --- how long a step takes ---

    def rehearse(self, seconds: float) -> float:
        """Seconds that a step takes: the median of a few real steps of a copy, four rounds at least.

        Where several players take turns of different lengths, the mean of their medians; where stages train or grow different networks, the mean over
        the whole training.
        """
        shares: dict[Any, float] = defaultdict(float)
        first: dict[Any, int] = {}
        for number, stage in enumerate(self.stages):
            kind = (stage.trains, stage.grow)
            shares[kind] += self._stage_end(number) - (self._stage_end(number - 1) if number else 0.0)
            first.setdefault(kind, number)
        return sum(share * self._copy()._step_seconds(first[kind], seconds / len(shares)) for kind, share in shares.items())

    def _copy(self) -> Training:
        """A training of the same samples that leaves no trace in this one."""
        copied = copy.copy(self)
        copied.method = copy.deepcopy(self.method)
        copied.stepper, copied.stages = Step(copied.method, self.autocast), list(copied.method.stages())
        copied.plan = Plan(self.plan.steps or 1_000_000, self.plan.batch)
        copied.sampler = self.source.sampler(self.plan.batch, self.settings.seed, "order", pools=self.method.pools)
        copied.optimizers, copied.loader, copied.times = None, copy.copy(self.loader), defaultdict(float)
        return copied

    def _step_seconds(self, stage: int, seconds: float) -> float:
        self._grow_until(stage - 1)
        self.stage = stage
        self._begin_stage()
        begin = time.monotonic()
        durations: list[float] = []
        turns = max(1, len(self.method.players))
        while len(durations) < 4 * turns or agree(time.monotonic() - begin < seconds and len(durations) < 200):
            clock = time.monotonic()
            self._update()
            durations.append(time.monotonic() - clock)
        rounds = [sorted(durations[1:][turn::turns]) for turn in range(turns)]  # the first step is slower than any other
        return sum(times[len(times) // 2] for times in rounds) / turns

    # --- what survives ---

    def _checkpoint(self) -> None:
        self.checkpoints.save_for_all(self.step, self._state)
        self.saved = time.monotonic()

    def _state(self) -> dict[str, Any]:
        return {
            "method": self.method.state_dict(),
            "optimizers": self._optimizers().state_dict(),
            "step": self.step,
            "stage": self.stage,
            "stage_start": self.stage_start,
            "members": self.chosen,
            "sampler": self.loader.sampler.state_dict(),
            "window": self.window.sums,
            "monitor": self.monitor.state(),
            "stopping": self.stopping.state() if self.stopping else None,
            "times": {"parts": dict(self.times), "processor": self._processor_used()},
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.step, self.stage, self.stage_start = state["step"], state["stage"], state["stage_start"]
        self._grow_until(self.stage)
        self.method.load_state_dict(state["method"])
        self.chosen = state.get("members")  # runs of earlier versions have none, nor anything that a sampler remembers
        if self.stage < len(self.stages):
            self.method.stage = self.stage
            self._set_out()
            self._optimizers().load_state_dict(state["optimizers"])
            self.loader.sampler.load_state_dict(state.get("sampler", {}))
        self.window = Window(state["window"])
        self.monitor.load(state["monitor"])
        if self.stopping is not None:
            self.stopping.load(state["stopping"])
        self.times.update(state["times"]["parts"])
        self.processor = state["times"]["processor"]
        if rank() == 0:
            self.folder.cut_metrics(self.step)
        self.say(f"going on from step {self.step}")
