"""One loop for every method: batches, views, a step by each player, stages, metrics, health, checkpoints."""

import copy
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import torch
from torch import Tensor

from leaven.console import Progress, Say, quiet
from leaven.data.batch import Batch
from leaven.draw import Draw
from leaven.encoders.store import save_encoder
from leaven.errors import Interrupted, TrainingStopped
from leaven.methods.method import Method, Outputs, Recipe
from leaven.run import Run
from leaven.sampling import Members, Source, Stream
from leaven.stored import building
from leaven.training.checkpoint import Checkpoints
from leaven.training.devices import StopRequest, peak_memory, plain_errors, processor_seconds
from leaven.training.distributed import agree, anywhere, average_gradients, rank, wait_for_all
from leaven.training.health import Monitor, Verdict
from leaven.training.plan import Budget, Plan
from leaven.training.request import Request
from leaven.training.stages import Stages
from leaven.training.step import Autocast, Step, in_double
from leaven.training.supervision import EarlyStopping
from leaven.training.trackers import Trackers

PROBE = 1024  # samples that health looks at
FEW_STEPS = 20  # less than that teaches nothing


class Window:
    """Sums of the loss since the last row of metrics, kept on the device, by the names of a step's terms: players have terms of their own."""

    def __init__(self, sums: dict[str, Tensor] | None = None):
        self.sums = sums or {}

    def add(self, terms: dict[str, Tensor], norm: Tensor) -> None:
        """norm: length of the gradient."""
        values = torch.stack([*terms.values(), norm]).double()
        names = ",".join(terms)
        self.sums[names] = self.sums.get(names, 0.0) + torch.cat([values, values.new_ones(1)])

    def take_means(self) -> dict[str, float]:
        """Means of each term, of their sum and of the gradient's length, over the steps that had them; the window is then empty."""
        sums: dict[str, float] = defaultdict(float)
        steps: dict[str, float] = defaultdict(float)
        for names, total in self.sums.items():
            *terms, norm, count = total.tolist()
            for name, value in [*zip(names.split(","), terms, strict=True), ("loss", sum(terms)), ("grad_norm", norm)]:
                sums[name] += value
                steps[name] += count
        self.sums = {}
        return {name: value / steps[name] for name, value in sums.items()}


class Training:
    """Trains a method on members of a data set, or on a stream. `run()` goes on from the newest checkpoint of the run.

    members: int64 places in `rows` (None: all). deadline: time.monotonic() at which a budget ends. on_step: called after every step with its number,
    before that may be written to a checkpoint.
    """

    def __init__(
        self,
        method: Method,
        recipe: Recipe,
        rows: Batch | Stream,
        members: Tensor | None,
        plan: Plan,
        folder: Run,
        request: Request,
        autocast: Autocast,
        *,
        device: torch.device | str = "cpu",
        deadline: float | None = None,
        watch: bool = True,
        stopping: EarlyStopping | None = None,
        trackers: Trackers | None = None,
        say: Say = quiet,
        progress: Progress = quiet,
        on_step: Callable[[int], object] = quiet,
    ):
        self.method, self.recipe, self.plan, self.folder, self.request, self.autocast = method, recipe, plan, folder, request, autocast
        self.device, self.watch, self.stopping = torch.device(device), watch, stopping
        self.say, self.report_progress, self.on_step = say, progress, on_step
        self.trackers, self.budget = trackers or Trackers(), Budget(plan, deadline, folder)
        self.source: Source = rows if isinstance(rows, Stream) else Members(rows, members)
        self.stop = StopRequest()
        self.stages = self._stages(method, plan)
        self.stepper = Step(method, autocast)
        self.checkpoints = Checkpoints(folder.checkpoints)
        loader = self.stages.loader
        pools = loader.batch(loader.sampler.batch(0)) if method.pools and type(method).examine is not Method.examine else None
        self.monitor = Monitor(method, self.source.probe(PROBE, request.seed).to(self.device), autocast, self._give, pools)
        self.step, self.window = 0, Window()
        self.times: dict[str, float] = defaultdict(float)
        self.saved = self.processor = 0.0
        self.processor_start: float | None = None

    def _stages(self, method: Method, plan: Plan) -> Stages:
        return Stages(method, self.recipe, self.source, plan, self.autocast, self.request, self.device, lambda: self.stop.asked)

    # --- the story ---

    def run(self) -> dict[str, Any]:
        """Returns steps, samples, seconds, the time split, what was used of the machine, and the verdicts. Raises TrainingStopped or Interrupted."""
        self.method.to(self.device)
        with self.stop.heard(), plain_errors(), closing(self.stages.loader):
            state = self.checkpoints.load()
            wait_for_all()  # nobody writes before everybody has read
            if state is None:
                self._begin()
                self.budget.begin(self.step, 0.0)
            else:
                with building(self.checkpoints.folder):
                    self._restore(state)
                self.budget.begin(self.step, sum(self.times.values()))
            self.processor_start = processor_seconds()
            while not self.stages.ended:
                end = self.stages.end()
                while self.plan.progress(self.step) < end - 1e-9 and not (self.stopping and self.stopping.ended) and not self.method.settled:
                    self._one_step()
                self.stages.number += 1
                if not self.stages.ended:
                    with self._timed("stages"):
                        self.stages.begin(self.step)
                else:
                    if self.stopping is not None:
                        self.stopping.restore(self.method)
                    self.method.finish()
                    self._conclude()
                self._checkpoint()
        seconds = sum(self.times.values())
        return {
            "steps": self.step,
            "samples": self.step * self.plan.batch,
            "seconds": round(seconds, 3),
            "samples_per_second": round(self.step * self.plan.batch / max(seconds, 1e-9), 1),
            "time_split": {name: round(spent, 3) for name, spent in self.times.items()},
            "cpu_seconds": round(self._processor_used(), 3),
            "peak_memory": peak_memory(self.device),
            "health": [verdict.to_dict() for verdict in self.monitor.verdicts],
            **({"early_stopping": self.stopping.summary()} if self.stopping else {}),
            **({"concluded": concluded} if (concluded := self._concluded()) else {}),
        }

    def _concluded(self) -> list[dict[str, Any]]:
        """What the training decided by itself, as {what, value, why}."""
        if self.stopping is None or self.stopping.step > 0:
            return self.method.concluded()
        value = "the frozen probe" if self.method.continues else "the start"
        why = f"no later state was better on {len(self.stopping.held_out):,} held-out labels"
        return [{"what": "kept", "value": value, "why": why}, *self.method.concluded()]

    def _conclude(self) -> None:
        """Say what the training decided by itself, and what a user of the run must know."""
        for choice in self._concluded():
            self.say(f"{choice['what']}: {choice['value']} ({choice['why']})")
        for verdict, why in self.method.cautions().items():
            self.monitor.give(Verdict(verdict, self.step, why))

    def _one_step(self) -> None:
        terms, norm, outputs = self._update()
        with self._timed("health and checkpoints"):
            self._log(terms, norm, outputs)
        self._keep_snapshot()
        self.on_step(self.step)
        self.budget.correct(self.step)
        late = time.monotonic() - self.saved > self.request.checkpoint_seconds
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
            seed = (self.request.seed, "forward", stages.number, self.step, rank())
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

    def _keep_snapshot(self) -> None:
        """The encoders as they are at even parts of the training, where the request asks for some."""
        count = self.request.snapshots or 0
        before, now = (math.floor(count * self.plan.progress(step) + 1e-9) for step in (self.step - 1, self.step))
        if now > before and rank() == 0:
            encoders = self.method.encoders()
            for name, encoder in encoders.items():
                save_encoder(self.folder.snapshot(now) / (name if len(encoders) > 1 else ""), encoder)

    # --- parts of a step ---

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.times[part] += time.perf_counter() - begin

    def _views(self, batch: Any, number: int) -> Any:
        stages, loader = self.stages, self.stages.loader
        draw = Draw(self.request.seed, "views", stages.number, self.step, part=loader.mine[number], parts=loader.parts, device=self.device)
        with torch.no_grad():
            views = stages.method.views(batch, draw)
        return in_double(views) if stages.double else views

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
        if not self.plan.steps and self.plan.budget is not None:
            self.budget.settle(self.rehearse(min(5.0, 0.05 * self.budget.left)))
            if self.plan.steps < FEW_STEPS:
                few = f"only {self.plan.steps} step{'s' * (self.plan.steps > 1)} of {self.plan.batch} samples fit into this budget"
                self.say(f"{few}, too few to learn from: give more time, or a smaller --batch or --size")
        with self._timed("stages"):
            self.stages.begin(self.step)
        if self.watch:
            self.monitor.look(0, Outputs())
            self._look_at_held_out()  # of the start, which is kept where training does not improve on it
        self._checkpoint()

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
            row |= self._look_at_held_out()
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

    def _look_at_held_out(self) -> dict[str, float]:
        """Measures of held-out labels, where they tell when to end."""
        if (stopping := self.stopping) is None:
            return {}
        return stopping.look(self.step, self.method, self.method.held_out(lambda function: self.stages.encode(function, stopping.batches())))

    def _give(self, verdict: Verdict) -> None:
        self.say(verdict.line())
        self.trackers.verdict(self.step, verdict.line())

    def _stop_if_fatal(self) -> None:
        if self.request.keep_going:
            return
        verdict = self.monitor.fatal()
        if agree(verdict is not None):
            verdict = verdict or Verdict("stopped", self.step, "the first process stopped", fatal=True)
            raise TrainingStopped(verdict.verdict, verdict.why, step=self.step)

    # --- how long a step takes ---

    def rehearse(self, seconds: float) -> float:
        """Seconds that a step takes: the median of some real steps, four rounds at least, in `seconds` of time. Of a method that takes none: seconds
        that it takes in all.

        Where several players take turns of different lengths, the mean of their medians; where stages train or grow different networks, the mean over
        the whole training.
        """
        stages = self.stages
        if self.recipe.steps == 0:
            begin = time.monotonic()
            while not stages.ended:
                stages.begin(0)
                stages.number += 1
            stages.number = 0
            return time.monotonic() - begin
        shares: dict[Any, float] = defaultdict(float)
        first: dict[Any, int] = {}
        for number, stage in enumerate(stages.all):
            kind = (stage.trains, stage.grow)
            shares[kind] += stages.end(number) - (stages.end(number - 1) if number else 0.0)
            first.setdefault(kind, number)
        return sum(share * self._step_seconds(first[kind], seconds / len(shares)) for kind, share in shares.items())

    def _step_seconds(self, number: int, seconds: float) -> float:
        """The same for one stage, by steps of a copy that leave no trace in this training."""
        copied, method = copy.copy(self), copy.deepcopy(self.method)
        copied.stages, copied.stepper = self._stages(method, Plan(self.plan.steps or 1_000_000, self.plan.batch)), Step(method, self.autocast)
        copied.times = defaultdict(float)
        copied.stages.grow_until(number - 1)
        copied.stages.number = number
        copied.stages.begin(0)
        begin = time.monotonic()
        durations: list[float] = []
        turns = max(1, len(method.players))
        while len(durations) < 4 * turns or agree(time.monotonic() - begin < seconds and len(durations) < 200):
            clock = time.monotonic()
            copied._update()
            if anywhere(self.stop.asked)[0]:
                raise Interrupted("stopped before the first step")
            durations.append(time.monotonic() - clock)
        rounds = [sorted(durations[1:][turn::turns]) for turn in range(turns)]  # the first step is slower than any other
        return sum(times[len(times) // 2] for times in rounds) / turns

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
