"""How long a training takes on this machine: a few of its steps are really done."""

import math
import os
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from leaven.data import DataSet
from leaven.data.dataset import singly
from leaven.encoders import describe_encoder
from leaven.methods.method import Outputs
from leaven.methods.registry import find_method
from leaven.run import Run
from leaven.training.build import build_training
from leaven.training.devices import choose_device, launch, peak_memory
from leaven.training.loop import Training
from leaven.training.plan import Plan
from leaven.training.precision import NAMES, choose_precision, fast_products, keep_freed_memory
from leaven.training.pretraining import near
from leaven.training.request import Request

REHEARSAL = 2.5
BUSY = 0.5  # of the cores


def load() -> float:
    """Programs per core that wanted to run during the last minute; 0 where the system does not say."""
    return os.getloadavg()[0] / (os.cpu_count() or 1) if hasattr(os, "getloadavg") else 0.0


@dataclass(frozen=True)
class Pace:
    """What a few steps of a training showed. samples: how many train; step, look: seconds that one takes; memory: peak in bytes, if known; choices:
    what was chosen for `auto`, and why. at_once: whether the method takes no steps; `step` are then the seconds that it takes in all."""

    method: str
    encoder: str
    batch: int
    samples: int
    device: str
    precision: str
    step: float
    look: float
    memory: int | None
    choices: tuple[dict[str, Any], ...]
    at_once: bool = False

    @property
    def steps_per_epoch(self) -> float:
        return self.samples / self.batch

    def seconds(self, steps: int) -> float:
        """How long this many steps take, with the looks at the features."""
        if self.at_once:
            return self.step
        return steps * self.step + math.ceil(steps / Plan(steps, self.batch).look_every) * self.look

    def steps_in(self, seconds: float) -> int:
        """How many steps fit."""
        if self.at_once:
            return 0
        steps = max(1, int(seconds / self.step))
        return max(1, int(steps * seconds / self.seconds(steps)))

    def steps_of(self, epochs: float) -> int:
        return 0 if self.at_once else max(1, math.ceil(epochs * self.steps_per_epoch))

    def to_dict(self, steps: int, decoding: float, cached: bool) -> dict[str, Any]:
        """The estimate for this many steps: seconds of training alone, without the start, the report and the decoding of uncached samples."""
        seconds = self.seconds(steps)
        samples = self.samples if self.at_once else steps * self.batch
        return {
            **{name: getattr(self, name) for name in ("method", "encoder", "batch", "device", "precision")},
            "steps": steps,
            "epochs": round(samples / self.samples, 2),
            "seconds": round(seconds, 2),
            "seconds_per_step": round(self.step, 5),
            "seconds_per_epoch": round(seconds / samples * self.samples, 3),
            "samples_per_second": round(samples / seconds, 1),
            "decoding_seconds": round(decoding, 2),
            "decoded": cached,
            "memory_bytes": self.memory,
        }


def rehearse(request: Request, data: DataSet) -> Pace:
    """Build the requested training and do at least four real steps of it on the real data. Raises UserError as `train` does."""
    data = singly(data, find_method(request.method).inputs(data.spec))
    device = choose_device(request.device)
    precision, why = choose_precision(request.precision, device)
    fabric = launch(device, 1, NAMES[precision])
    keep_freed_memory()
    parts = build_training(request, data, device)
    method, members, plan = parts.method, parts.members, parts.plan
    names = [described["name"] for described in map(describe_encoder, method.encoders().values())]
    with tempfile.TemporaryDirectory() as folder:
        rows, run = near(parts.data, fabric.device), Run(folder)
        training = Training(method, parts.recipe, rows, members, plan, run, request, fabric.autocast, device=fabric.device)
        method.to(fabric.device)
        with closing(training.stages.loader), fast_products(device, precision):
            step = training.rehearse(REHEARSAL)
            training.monitor.look(0, Outputs())
            begin = time.perf_counter()
            training.monitor.look(0, Outputs())
            look = time.perf_counter() - begin
    choices = ({"what": "precision", "value": precision, "why": why}, *parts.choices)
    name, memory, at_once = " and ".join(names), peak_memory(fabric.device), parts.recipe.steps == 0
    return Pace(method.name, name, plan.batch, len(members), device, precision, step, look, memory, choices, at_once)
