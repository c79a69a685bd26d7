"""How many steps a training takes, and where in it a step lies."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

from leaven.run import Run
from leaven.training.distributed import agree, rank

MOST_STEPS = 10**9 - 1  # as many digits as the name of a checkpoint has
REPLAN_AT = (0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95)


@dataclasses.dataclass
class Plan:
    """A number of steps, which a time budget may change on the way; every change is kept, so that a resumed run replays it.

    steps: 0 with a budget until it is settled; 0 without one where a method takes none. changes: (step, steps) pairs: from `step` on, the training is
    `steps` long. Progress stays continuous over a change.
    """

    steps: int
    batch: int
    budget: float | None = None
    changes: list[tuple[int, int]] = dataclasses.field(default_factory=list)

    def progress(self, step: int) -> float:
        """The share (0-1) of the training that lies before this step."""
        if not self.steps:
            return 1.0
        start, at, total = 0, 0.0, self.steps
        for change, steps in self.changes:
            if change > step:
                break
            at += (change - start) * (1 - at) / (total - start)
            start, total = change, steps
        return min(1.0, at + (step - start) * (1 - at) / max(1, total - start))

    @property
    def total(self) -> int:
        return self.changes[-1][1] if self.changes else self.steps

    @property
    def log_every(self) -> int:
        """Steps between two rows of metrics: some 200 in all."""
        return max(1, self.steps // 200)

    @property
    def look_every(self) -> int:
        """Steps between two looks at the features: some 25 in all."""
        return 8 * self.log_every

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Plan:
        return cls(stored["steps"], stored["batch"], stored["budget"], [(step, steps) for step, steps in stored["changes"]])


class Budget:
    """Turns a time budget into steps, and corrects them where the end has drifted. Without a deadline it does nothing.

    deadline: time.monotonic() at which the training ends. folder: of the run, whose configuration keeps the changed plan.
    """

    def __init__(self, plan: Plan, deadline: float | None, folder: Run):
        self.plan, self.deadline, self.folder = plan, deadline, folder
        self.started = time.monotonic(), 0

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        assert self.deadline is not None
        return self.deadline - time.monotonic()

    def settle(self, step_seconds: float) -> None:
        """Decide the number of steps from the time that one takes."""
        self.plan.steps = min(MOST_STEPS, max(1, int(agree(self.left / step_seconds / 1.02))))
        self._save()

    def begin(self, step: int, used: float) -> None:
        """Steps are timed from this one on. used: seconds that an interrupted training has spent."""
        self.started = time.monotonic(), step
        if self.deadline is not None:
            self.deadline -= used

    def correct(self, step: int) -> None:
        """Where the end has drifted by more than 1 %, change the number of steps, and write that down before going on."""
        before, now = self.plan.progress(step - 1), self.plan.progress(step)
        if self.deadline is None or self.plan.budget is None or now >= 1 or not any(before < share <= now for share in REPLAN_AT):
            return
        if any(changed >= step for changed, _ in self.plan.changes):
            return
        since, first = self.started
        pace = (time.monotonic() - since) / (step - first)
        left = min(MOST_STEPS - step, int(agree(max(1.0, self.left / pace))))
        if abs(left - (self.plan.total - step)) > 0.01 * self.plan.total:
            self.plan.changes.append((step, step + left))
            self._save()

    def _save(self) -> None:
        if rank() == 0:
            self.folder.update_config(plan=self.plan.to_dict())


def rate_factor(progress: float, warmup: float, schedule: str) -> float:
    """What the learning rate is multiplied by: a linear rise over the first `warmup`, then a cosine to 0 or a constant."""
    if progress < warmup:
        return progress / warmup
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def scaled_rate(lr: float, batch: int, reference: int, rule: str) -> float:
    """The base learning rate for a global batch, accumulation and processes included."""
    ratio = batch / reference
    return lr * {"linear": ratio, "sqrt": math.sqrt(ratio), "none": 1.0}[rule]
