"""One loop for every method: batches, views, a step by each player, stages, metrics, health, checkpoints."""

import copy
import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import torch
from torch import Tensor

from leaven.data.batch import Batch
from leaven.draw import Draw
from leaven.errors import Interrupted, TrainingStopped
from leaven.methods.method import Method, Outputs, Recipe
from leaven.run import Run
from leaven.sampling import Loader, Members, Source, Stream
from leaven.training.checkpoint import Checkpoints
from leaven.training.devices import peak_memory, plain_errors, processor_seconds
from leaven.training.distributed import agree, anywhere, average_gradients, processes, rank, wait_for_all
from leaven.training.early_stopping import EarlyStopping
from leaven.training.health import Monitor, Verdict
from leaven.training.interrupts import StopRequest
from leaven.training.plan import Budget, Plan
from leaven.training.precision import in_double
from leaven.training.rehearsal import mean_step_seconds
from leaven.training.stages import Stages
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
        self.stop = StopRequest()
        self.stages = self._stages(method, plan)
        self.stepper, self.double = Step(method, autocast), self.stages.double
        self.checkpoints = Checkpoints(folder.checkpoints)
        loader = self.stages.loader
        pools = loader.batch(loader.sampler.batch(0)) if method.pools and type(method).examine is not Method.examine else None
        self.monitor = Monitor(method, self.source.probe(PROBE, settings.seed).to(settings.device), autocast, self._give, pools)
        self.step, self.window = 0, Window()
        self.times: dict[str, float] = defaultdict(float)
        self.saved = self.processor = 0.0
        self.processor_start: float | None = None

    def _stages(self, method: Method, plan: Plan) -> Stages:
        settings = self.settings
        return Stages(
            method, self.recipe, self.source, plan, self.autocast, seed=settings.seed, accumulate=settings.accumulate, device=settings.device,
            stopped=lambda: self.stop.asked,
        )  # fmt: skip

    @property
    def loader(self) -> Loader:
        return self.stages.loader

    # --- the story ---

    def run(self) -> dict[str, Any]:
        """Returns steps, samples, seconds, the time split, what was used of the machine, and the verdicts. Raises TrainingStopped or Interrupted."""
        self.method.to(self.settings.device)
        with self.stop.heard(), plain_errors(), closing(self.loader):
            state = self.checkpoints.load()
            wait_for_all()  # nobody writes before everybody has read
            if state is None:
                self._begin()
            else:
                self._restore(state)
            self.budget.begin(self.step, sum(self.times.values()))
            self.processor_start = processor_seconds()
            while not self.stages.ended:
                end = self.stages.end()
                while self.plan.progress(self.step) < end - 1e-9 and not (self.stopping and self.stopping.ended):
                    self._one_step()
                self.stages.number += 1
                if self.stages.ended:
                    self._finish()
                else:
                    self.stages.begin(self.step)
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
        stages, player = self.stages, self.stages.player(self.step)
        optimizers, sampler = stages.optimizers, stages.loader.sampler
        with self._timed("data"):
            batches = stages.loader.batches(self.step)
        with self._timed("views"):
            views = [self._views(batch, number) for number, batch in enumerate(batches)]
        with self._timed("forward and backward"):
            optimizers.begin(player)
            seed = (self.settings.seed, "forward", stages.number, self.step, rank())
            terms, outputs = self.stepper.gradients(views, seed, (player,) if player else (), sampler.observes)
            average_gradients(optimizers.moving[player])
            norm = optimizers.gradient_norm(player)
        with self._timed("optimiser"):
            self._refuse_non_finite(terms, norm)
            optimizers.step(player, norm, (stages.progress(self.step) + stages.progress(self.step + 1)) / 2)
            self.step += 1
            stages.method.after_step(outputs, stages.progress(self.step))
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

    def _views(self, batch: Any, number: int) -> Any:
        accumulate, stages = self.settings.accumulate, self.stages
        part, parts = rank() * accumulate + number, processes() * accumulate
        draw = Draw(self.settings.seed, "views", stages.number, self.step, part=part, parts=parts, device=self.settings.device)
        with torch.no_grad():
            views = stages.method.views(batch, draw)
        return in_double(views) if self.double else views

    def _refuse_non_finite(self, terms: dict[str, Tensor], norm: Tensor) -> None:
        bad = [name for name, term in terms.items() if not term.isfinite()] or ([] if norm.isfinite() else ["its gradient"])
        if bad:
            why = f"{bad[0]} is not finite; usual causes: a learning rate that is too high, or inputs with NaN"
            self.monitor.give(Verdict("non-finite loss", self.step, why, fatal=True))
            raise TrainingStopped("non-finite loss", why, step=self.step)

    # --- beginning and end ---

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
        self.stages.begin(self.step)
        if self.watch:
            self.monitor.look(0, Outputs())
        self._checkpoint()

    def _finish(self) -> None:
        if self.stopping is not None:
            self.stopping.restore(self.method)
        self.method.finish()

    # --- metrics and health ---

    def _log(self, terms: dict[str, Tensor], norm: Tensor, outputs: Outputs) -> None:
        if not self.watch:
            return
        self.window.add(terms, norm)
        progress = self.plan.progress(self.step)
        if self.step % self.plan.log_every and progress < 1:
            return
        row: dict[str, Any] = {"step": self.step, "stage": self.stages.current.name, "progress": progress, "lr": self.stages.optimizers.rate}
        row |= self.window.take_means()
        if self.step % self.plan.look_every == 0 or progress >= 1:
            row |= self.monitor.look(self.step, outputs)
            if self.stopping is not None:
                held_out = list(self.stopping.batches(self.settings.device))
                measures = self.method.held_out(lambda function: self.stages.encode_batches(function, held_out))
                row |= self.stopping.look(self.step, self.method, measures)
        if (chance := self.method.chance(outputs)) is not None:
            row["chance"] = chance
        self.monitor.judge_loss(self.step, self.stages.progress(self.step), row["loss"], chance)
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
        """Seconds that a step takes, from some real steps of a copy."""
        return mean_step_seconds(seconds, self.stages, self._copy)

    def _copy(self) -> tuple[Stages, Callable[[], object]]:
        """Stages of the same training, and what does one step in them and leaves no trace in this one."""
        copied, method = copy.copy(self), copy.deepcopy(self.method)
        copied.stages, copied.stepper = self._stages(method, Plan(self.plan.steps or 1_000_000, self.plan.batch)), Step(method, self.autocast)
        copied.times = defaultdict(float)

        def do_step() -> None:
            copied._update()
            if anywhere(self.stop.asked)[0]:
                raise Interrupted("stopped before the first step")

        return copied.stages, do_step

    # --- what survives ---

    def _checkpoint(self) -> None:
        self.checkpoints.save_for_all(self.step, self._state)
        self.saved = time.monotonic()

    def _state(self) -> dict[str, Any]:
        return {
            **self.stages.state_dict(),
            "step": self.step,
            "window": self.window.sums,
            "monitor": self.monitor.state(),
            "stopping": self.stopping.state() if self.stopping else None,
            "times": {"parts": dict(self.times), "processor": self._processor_used()},
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        self.stages.load_state_dict(state)
        self.window = Window(state["window"])
        self.monitor.load(state["monitor"])
        if self.stopping is not None:
            self.stopping.load(state["stopping"])
        self.times.update(state["times"]["parts"])
        self.processor = state["times"]["processor"]
        if rank() == 0:
            self.folder.cut_metrics(self.step)
        self.say(f"going on from step {self.step}")
